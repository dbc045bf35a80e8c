"""Pickles that know which versions wrote them.

scikit-learn stamps its version only on its own classes, so ours stamp both and
compare on loading. What `_transient` names is left out of a pickle: caches that
are cheap to rebuild, and torch objects, which are written as plain numpy arrays
instead so that a file loads on any device.
"""

import pickle
import warnings
from collections import OrderedDict
from functools import cache
from threading import Lock

import cloudpickle
import sklearn
from sklearn.base import BaseEstimator

from skphonon._version import __version__

_STAMP = "_saved_with"

_BUILT: OrderedDict = OrderedDict()  # what `_cached` built, latest use last
_KEPT, _LARGEST = 256, 1.5e9  # so many things, and so many bytes of them
_SIZES: dict = {}  # bytes of each
_LOCK = Lock()


class VersionMismatchWarning(UserWarning):
    """An object was pickled with other versions than those that load it."""


class VersionedEstimator(BaseEstimator):
    """BaseEstimator whose pickles carry the versions they were made with.

    Subclasses list in `_transient` the attributes that a pickle leaves out, and may
    keep what is expensive to build in `_cached`.
    """

    _transient = ()

    def __getstate__(self):
        """Return the attributes to pickle, stamped with the versions in use."""
        state = {k: v for k, v in vars(self).items() if k not in self._transient}
        return {**state, _STAMP: _versions()}

    def __setstate__(self, state):
        """Restore the attributes; warn where versions differ, refuse those of 0.1."""
        state = dict(state)
        saved, current = state.pop(_STAMP, {}), _versions()
        if saved.get("skphonon", __version__).startswith("0.1"):
            raise ValueError(
                f"This {type(self).__name__} was saved with {_describe(saved)}, whose "
                f"files skphonon {__version__} cannot read. Load it with skphonon 0.1, "
                "or train it again."
            )
        if saved != current:
            warnings.warn(
                f"{type(self).__name__} was saved with {_describe(saved)} and is "
                f"loaded with {_describe(current)}. Results may differ or fail: "
                "load it with the versions it was saved with, or train it again.",
                VersionMismatchWarning,
                stacklevel=2,
            )
        vars(self).update(state)

    def _cached(self, name, build, parameters=None):
        """Return what `build` makes, made once for all objects of equal parameters.

        Workers that get a pickled copy, and clones in a grid search, share it so.
        `parameters` names those on which it depends; None is all.
        """
        names = parameter_names(type(self)) if parameters is None else parameters
        if type(self).get_params is BaseEstimator.get_params:
            values = {name: getattr(self, name) for name in names}
        else:
            given = self.get_params(deep=False)
            values = {name: given[name] for name in names}
        key = type(self), name, _fingerprint(values)
        with _LOCK:
            if key in _BUILT:
                _BUILT.move_to_end(key)
                return _BUILT[key]
        built = build()
        with _LOCK:
            _BUILT[key] = built
            _SIZES[key] = _size(built)
            held = sum(_SIZES[each] for each in _BUILT)
            while len(_BUILT) > 1 and (len(_BUILT) > _KEPT or held > _LARGEST):
                held -= _SIZES.pop(_BUILT.popitem(last=False)[0])
        return built


def _size(thing, depth=6):
    """Bytes of the arrays in what was built."""
    if hasattr(thing, "nbytes"):
        return thing.nbytes
    if depth == 0:
        return 0
    parts = thing.values() if isinstance(thing, dict) else thing
    if not isinstance(parts, (tuple, list, type({}.values()))):
        parts = getattr(thing, "__dict__", {}).values()
    return sum(_size(part, depth - 1) for part in parts)


@cache
def parameter_names(of_type):
    """Return the names of the parameters of a class of estimators."""
    return tuple(of_type._get_param_names())


def _fingerprint(parameters):
    try:
        return pickle.dumps(parameters)
    except (AttributeError, TypeError, pickle.PicklingError):
        # functions that have no name to import them by, such as a lambda
        return cloudpickle.dumps(parameters)


def _versions():
    return {"skphonon": __version__, "scikit-learn": sklearn.__version__}


def _describe(versions):
    return (
        ", ".join(f"{k} {v}" for k, v in versions.items())
        or "unknown versions of skphonon and scikit-learn"
    )
