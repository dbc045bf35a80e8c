"""Objects whose pickles know which versions wrote them.

scikit-learn stamps its version only on its own classes, so ours stamp both and
compare on loading. Simulators and estimators may change and are
:class:`VersionedEstimator`; models, grids and measurements are :class:`Immutable`.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from functools import cache, cached_property, wraps
from hashlib import blake2b
from inspect import signature
from types import MappingProxyType
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform
from weakref import WeakValueDictionary

import numpy as np
import sklearn
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from skphonon._caching import content_of, shared
from skphonon._version import __version__
from skphonon._warnings import warn_user

__all__ = [
    "Immutable",
    "VersionMismatchWarning",
    "VersionedEstimator",
    "frozen",
    "immutable",
    "parameter_names",
    "read_only",
    "without_results",
]

T = TypeVar("T")

_STAMP = "_saved_with"
_WITHOUT_RESULTS = ContextVar("without results", default=False)
_OURS: WeakValueDictionary[int, NDArray] = WeakValueDictionary()  # made by read_only


class VersionMismatchWarning(UserWarning):
    """An object was pickled with other versions than those that load it."""


class VersionedEstimator(BaseEstimator):
    """BaseEstimator whose pickles carry the versions they were made with.

    Subclasses list in `_transient` the attributes that a pickle leaves out: caches that
    are cheap to rebuild, and torch objects, which are written as plain numpy arrays
    instead so that a file loads on any device. Model files leave out `_results` as
    well: what the last `predict` found, and what text cannot tell but follows from the
    rest. What is expensive to build is kept by `_cached`.
    """

    _transient: ClassVar[Sequence[str]] = ()
    _results: ClassVar[Sequence[str]] = ()
    # what to do instead of each parameter that the class had in 0.1: "give ..."
    _moved_parameters: ClassVar[Mapping[str, str]] = {}
    # what makes the estimator that a parameter is, or that its shortcut stands for
    _shortcuts: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls._moved_parameters and "__init__" in vars(cls):
            cls.__init__ = _refuses_moved(cls.__init__)  # type: ignore[method-assign]

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes to pickle, stamped with the versions in use."""
        left_out = {*self._transient}
        if _WITHOUT_RESULTS.get():
            left_out.update(self._results)
        return _stamped({k: v for k, v in vars(self).items() if k not in left_out})

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Restore the attributes; warn where versions differ, refuse those of 0.1."""
        self.__dict__.update(_unstamped(state, type(self)))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get parameters, also those of estimators that shortcuts stand for.

        Parameters
        ----------
        deep : bool, default=True
            Whether to return those of estimators within.

        Returns
        -------
        dict
            Values by name.
        """
        params = super().get_params(deep=deep)
        for part in self._shortcuts.keys() & params.keys() if deep else ():
            meant = self._part(part)
            if meant is not params[part] and hasattr(meant, "get_params"):
                inner = meant.get_params()
                params |= {f"{part}__{name}": value for name, value in inner.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters, also those of estimators within, as scikit-learn does.

        Parameters
        ----------
        **params
            Values by name. Models and grids do not change: give another one. A shortcut
            becomes the estimator it stands for, where one of its parameters is set.

        Returns
        -------
        estimator instance
            This estimator.
        """
        cls: Any = type(self)
        for name in [*params]:
            if name in cls._moved_parameters and name not in parameter_names(cls):
                raise ValueError(_advice(cls, name))
            part, _, inner = name.partition("__")
            held = params.get(part, getattr(self, part, None))
            if inner and part in cls._shortcuts:
                held = params[part] = cls._shortcuts[part](held)
            owned = part in parameter_names(cls) and not isinstance(held, Immutable)
            if inner and owned and not hasattr(held, "set_params"):
                raise ValueError(
                    f"{name} cannot be set: {part}={held!r} has no settings. Set "
                    f"another {part} first."
                )
            if inner and isinstance(held, Immutable):
                raise ValueError(
                    f"{name} cannot be set: a {type(held).__name__} does not change. "
                    f"Set another one, {part}={part}.replace({inner}=...)."
                )
        return super().set_params(**params)

    def _part(self, name: str) -> Any:
        """Return the estimator that a parameter is, or stands for."""
        return self._shortcuts[name](getattr(self, name))

    def _cached(
        self,
        name: Hashable,
        build: Callable[[], T],
        parameters: Sequence[str] | None = None,
    ) -> T:
        """Return what `build` makes, made once for all objects of equal parameters.

        `parameters` names those on which it depends; None is all.
        """
        cls: Any = type(self)
        names = parameters or parameter_names(cls)
        values = content_of([getattr(self, each) for each in names])
        return shared((cls, name, tuple(names), values), build)


@contextmanager
def without_results() -> Iterator[None]:
    """Let states of estimators be those before their last `predict`."""
    token = _WITHOUT_RESULTS.set(True)
    try:
        yield
    finally:
        _WITHOUT_RESULTS.reset(token)


@cache
def parameter_names(of_type: Any) -> tuple[str, ...]:
    """Return the names of the parameters of a class of estimators."""
    return tuple(of_type._get_param_names())


@dataclass(frozen=True, eq=False, repr=False)
class Immutable:
    """Base of frozen dataclasses: nothing changes behind what was derived from them.

    Subclasses check and convert their fields in `_settle`, and derive the rest by
    `functools.cached_property`. Pickles hold the fields alone.
    """

    def __post_init__(self) -> None:
        self._settle()

    def _settle(self) -> None:
        """Check the fields, and keep them in a form that nobody can write into."""

    def _keep(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments, as checked.

        Returns
        -------
        dict
            Arguments by name.
        """
        held = vars(self)
        return {each.name: held[each.name] for each in fields(self)}

    def replace(self, **changes: Any) -> Self:
        """Return a copy that differs in what is named.

        Parameters
        ----------
        **changes
            New values of parameters of the class.

        Returns
        -------
        object
            Of the same class; this one is left as it is.

        Raises
        ------
        TypeError
            If the class has no parameter of that name.
        """
        known = self.settings()
        unknown = sorted(changes.keys() - known.keys())
        if unknown:
            raise TypeError(
                f"{type(self).__name__} has the parameters {', '.join(known)}, got "
                f"{', '.join(unknown)}."
            )
        return type(self)(**{**known, **changes})

    @cached_property
    def content_key(self) -> bytes:
        """Digest that equal objects share, in any process."""
        told = content_of(type(self)), content_of(self.settings())
        return blake2b(repr(told).encode(), digest_size=16).digest()

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return self.content_key == other.content_key

    def __hash__(self) -> int:
        return hash(self.content_key)

    def __repr__(self) -> str:
        held = self.settings()
        shown = [
            f"{each.name}={_brief(held[each.name])}"
            for each in fields(self)
            if each.default is MISSING or held[each.name] is not each.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __sklearn_clone__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return _stamped({name: _plain(each) for name, each in self.settings().items()})

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        state = _unstamped(state, type(self))
        self._keep(**{each.name: state[each.name] for each in fields(self)})
        self._settle()


def _refuses_moved(init: Callable[..., None]) -> Callable[..., None]:
    """Return a constructor that tells the new spelling of parameters of 0.1."""
    known = signature(init).parameters

    @wraps(init)  # scikit-learn reads the parameters from what it wraps
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        cls = type(self)
        moved = [k for k in kwargs if k in cls._moved_parameters and k not in known]
        if moved:
            raise TypeError(" ".join(_advice(cls, name) for name in moved))
        init(self, *args, **kwargs)

    return checked


def _advice(cls: type[VersionedEstimator], name: str) -> str:
    return f"{cls.__name__} has no {name} any more: {cls._moved_parameters[name]}."


def _refuse_to_set(self: Immutable, name: str, value: Any = None) -> None:
    kind = type(self).__name__
    known = [each.name for each in fields(self)]
    advice = f"with replace({name}=...)" if name in known else "with replace"
    raise FrozenInstanceError(
        f"{name} of a {kind} cannot be set: a {kind} does not change. Make another one "
        f"{advice}; its parameters are {', '.join(known)}."
    )


@dataclass_transform(frozen_default=True, eq_default=False, field_specifiers=(field,))
def immutable(cls: type[T]) -> type[T]:
    """Make a subclass of `Immutable` a frozen dataclass whose errors say `replace`."""
    made = dataclass(frozen=True, eq=False, repr=False)(cls)
    made.__setattr__ = made.__delattr__ = _refuse_to_set  # type: ignore[assignment]
    return made


def read_only(values: ArrayLike, dtype: Any = float) -> NDArray:
    """Return values as an array that nobody can write into, a copy unless ours."""
    array = np.asarray(values, dtype=dtype)
    if _OURS.get(id(array)) is not array:  # others may hold a view, and write into it
        array = frozen(np.array(array))
    return array


def frozen(array: NDArray) -> NDArray:
    """Close an array that its maker gives up; `read_only` then makes no copy of it."""
    array.flags.writeable = False
    _OURS[id(array)] = array
    return array


def _plain(value: Any) -> Any:
    """Return a value with plain mappings in it, which can be pickled."""
    if type(value) in (dict, MappingProxyType):
        return {name: _plain(each) for name, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    return value


def _brief(value: Any) -> str:
    if isinstance(value, np.ndarray):
        text = np.array2string(
            value, separator=", ", threshold=6, edgeitems=2, precision=4
        )
        return " ".join(text.split())
    return repr(dict(value)) if isinstance(value, MappingProxyType) else repr(value)


def _stamped(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, _STAMP: _versions()}


def _unstamped(state: Mapping[str, Any], cls: type) -> dict[str, Any]:
    state = dict(state)
    saved, current = state.pop(_STAMP, {}), _versions()
    if saved.get("skphonon", __version__).startswith("0.1"):
        raise ValueError(
            f"This {cls.__name__} was saved with {_describe(saved)}, whose "
            f"files skphonon {__version__} cannot read. Load it with skphonon 0.1, "
            "or make it again."
        )
    if saved != current:
        warn_user(
            f"{cls.__name__} was saved with {_describe(saved)} and is "
            f"loaded with {_describe(current)}. Results may differ or fail: "
            "load it with the versions it was saved with, or make it again.",
            VersionMismatchWarning,
        )
    return state


def _versions() -> dict[str, str]:
    return {"skphonon": __version__, "scikit-learn": sklearn.__version__}


def _describe(versions: Mapping[str, str]) -> str:
    return (
        ", ".join(f"{k} {v}" for k, v in versions.items())
        or "unknown versions of skphonon and scikit-learn"
    )
