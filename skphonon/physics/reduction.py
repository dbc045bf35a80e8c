r"""Linear maps from few named parameters to the force constants of a crystal.

A crystal of many atoms has hundreds of force constants k, more than a spectrum
determines. Here they are linear in fewer parameters r, :math:`k = M r`, so that tensors
and dynamical matrices stay linear in what is varied. There is no constant part: what
is not varied by itself scales together, by one more parameter whose reference is 1.

Units are those of the parameters: eV/Angstrom^2 for springs, 1 for factors, a standard
deviation for principal directions.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, replace
from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array, csc_array, csr_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from skphonon._validation import parameter_rows, reference_row
from skphonon._versioned import Immutable, immutable, read_only
from skphonon._warnings import warn_user
from skphonon.physics._crystal import pair_labels
from skphonon.physics._directions import principal_directions
from skphonon.physics.priors import shell_numbers

if TYPE_CHECKING:
    from skphonon.physics._crystal import Crystal
    from skphonon.physics._shell_crystal import ShellCrystal

__all__ = ["Reduction"]

Array = NDArray[np.float64]
Model = TypeVar("Model", bound="ShellCrystal")

_EXACT = 1e-6  # of the constants: what a reference may change by
_SINGULAR = 1e-8  # of the largest singular value of columns of unit length
_DENSE = 0.1  # share of entries above which an array is not kept sparse
_SHOWN = 12  # names in a message
_AXES = "XYZ"
_BY = "by='springs', by={name: constants}, covariance, samples or map"


@immutable
class Reduction(Immutable):
    """Describe force constants by fewer parameters, each with a name.

    :meth:`~skphonon.physics.ForceConstantModel.reduced` makes these. A
    reduction belongs to the constants of one crystal, in their order.

    Parameters
    ----------
    names : sequence of str
        Names of the parameters.
    n_constants : int
        Number of constants of the crystal.
    entries : ndarray of shape (n_entries, 3)
        What is not zero of the map: number of the constant, number of the parameter,
        and the change of the one with the other.
    covariance : ndarray of shape (n_parameters, n_parameters), default=None
        Covariance of the parameters by the one that principal directions were made of.
        With the reference of the model it is a prior of
        :class:`~skphonon.inversion.LeastSquaresInverter`.
    explained_variance_ratio : ndarray of shape (n_parameters,), default=None
        Share of the variance of all constants that each parameter of principal
        directions stands for.

    Attributes
    ----------
    matrix : scipy.sparse.csr_array of shape (n_constants, n_parameters)
        The map.

    Examples
    --------
    >>> from skphonon.physics import Reduction
    >>> Reduction(["both"], 2, [[0, 0, 1.0], [1, 0, -1.0]]).matrix.toarray()
    array([[ 1.],
           [-1.]])
    """

    names: tuple[str, ...]
    n_constants: int
    entries: Array
    _: KW_ONLY
    covariance: Array | None = None
    explained_variance_ratio: Array | None = None

    def _settle(self) -> None:
        given = self.covariance, self.explained_variance_ratio
        covariance, ratio = (None if x is None else read_only(x) for x in given)
        self._keep(
            names=tuple(self.names),
            entries=read_only(self.entries).reshape(-1, 3),
            covariance=covariance,
            explained_variance_ratio=ratio,
        )

    @cached_property
    def matrix(self) -> csr_array:
        """The map, a sparse array of shape (n_constants, n_parameters)."""
        rows, columns, values = self.entries.T
        places = rows.astype(np.int64), columns.astype(np.int64)
        return csr_array((values, places), shape=(self.n_constants, len(self.names)))


def reduction_of(
    model: "ShellCrystal",
    by: str | Mapping | None,
    n_shells: int | None,
    others: str,
    covariance: ArrayLike | None,
    samples: ArrayLike | None,
    n_components: float | None,
    map: Any,
    names: str | Sequence[str] | None,
    origin: ArrayLike | None,
) -> Reduction:
    """Return the reduction, to constants of the crystal, that was asked for."""
    ways = {"by": by, "covariance": covariance, "samples": samples, "map": map}
    asked = [way for way, value in ways.items() if value is not None]
    if len(asked) != 1:
        raise ValueError(
            f"One way to reduce the constants must be given: {_BY}; got "
            f"{' and '.join(asked) or 'none'}."
        )
    if isinstance(by, str) and by != "springs":
        raise ValueError(f"by must be 'springs' or a dict of groups, got {by!r}.")
    way = by if isinstance(by, str) else "groups" if asked == ["by"] else asked[0]
    options = {
        "n_shells": (n_shells, ["springs"]),
        "others": (None if others == "free" else others, ["groups"]),
        "n_components": (n_components, ["covariance", "samples"]),
        "names": (names, ["map"]),
        "origin": (origin, ["covariance", "samples", "map"]),
    }
    for option, (value, own) in options.items():
        if value is not None and way not in own:
            raise ValueError(
                f"{option} goes with {' or '.join(own)}, got it with {way}. Leave it "
                "out."
            )
    if way == "springs":
        made = _springs(model, n_shells)
    elif way == "groups":
        made = _groups(model, by, others)
    elif way == "map":
        made = _linear_map(model, map, names, origin)
    else:
        made = _directions(model, covariance, samples, n_components, origin)
    check_map(made)
    return made if model.reduction is None else _composed(model.reduction, made)


def reduced_by(model: Model, reduction: Reduction) -> Model:
    """Return a model with a reduction and the reference that is closest to its own."""
    made = model.replace(reduction=reduction, reference=None)
    if model.reference is None:
        return made
    row = reference_row(model)
    elements = model._crystal.rule @ row
    made = made.replace(reference=closest(made._crystal, elements[None])[0])
    given, kept = model.tensor(row)[0], made.tensor(reference_row(made))[0]
    size, change = np.linalg.norm(given), np.linalg.norm(kept - given)
    if change > _EXACT * size:
        warn_user(
            "The reduced model does not reproduce the reference: its constants, "
            f"on-site terms included, differ by {100 * change / size:.2g} % (root mean "
            "square). Compare frequencies of both models at their references.",
            UserWarning,
        )
    return made


def reduce_crystal(crystal: "Crystal", reduction: Reduction) -> "Crystal":
    """Return a crystal whose elements are combinations of the reduced parameters."""
    if reduction.n_constants != len(crystal.names):
        raise ValueError(
            f"The reduction is of {reduction.n_constants} constants, but the crystal "
            f"has {len(crystal.names)}. Change full_model, and reduce it again."
        )
    return replace(
        crystal,
        rule=csr_array(crystal.rule @ reduction.matrix),
        names=list(reduction.names),
    )


def closest(crystal: "Crystal", elements: Array) -> Array:
    """Return parameters of the nearest force constants of all bonds, (n_samples, n)."""
    rule, squares = crystal.rule, crystal.spread.T @ crystal.spread
    if rule.nnz > _DENSE * np.prod(rule.shape):
        rule = rule.toarray()
    products = csc_array(rule.T @ (squares @ rule))
    sizes = np.sqrt(products.diagonal())  # parameters have several units
    scaled = products.multiply(1 / sizes).multiply(1 / sizes[:, None])
    projections = rule.T @ (squares @ elements.T) / sizes[:, None]
    return (splu(csc_array(scaled)).solve(projections) / sizes[:, None]).T


def check_map(reduction: Reduction) -> None:
    """Refuse a map without names, with bad values or with dependent columns."""
    names = list(reduction.names)
    if not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"names must be words, got {_listed(names)}.")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"names must differ, got more than once: {_listed(twice)}.")
    matrix = csc_array(reduction.matrix)
    lengths = np.sqrt((matrix**2).sum(axis=0))
    if not lengths.all():
        still = [names[number] for number in np.flatnonzero(lengths == 0)]
        raise ValueError(
            f"Each parameter must change some constant, but {_listed(still)} "
            f"{'changes' if len(still) == 1 else 'change'} none: the map, or the "
            "reference of the constants that scale together, is zero. Leave it out."
        )
    rows, columns = matrix.nonzero()
    links = coo_array(
        (np.ones(len(rows)), (columns, len(names) + rows)),
        shape=(sum(matrix.shape),) * 2,
    )
    labels = connected_components(links, directed=False)[1][: len(names)]
    order = np.argsort(labels, kind="stable")
    ends = np.flatnonzero(np.diff(labels[order])) + 1
    for block in np.split(order, ends):
        if len(block) > 1:
            _check_block(matrix[:, block], lengths[block], [names[n] for n in block])


def _check_block(columns: csc_array, lengths: Array, names: list[str]) -> None:
    """Refuse dependent columns; `columns` share no row with others."""
    used = np.unique(columns.indices)
    scaled = csr_array(columns)[used].toarray() / lengths
    if scaled.shape[0] > scaled.shape[1]:
        scaled = np.linalg.qr(scaled, mode="r")
    _, sizes, directions = np.linalg.svd(scaled)
    rank = int((sizes > _SINGULAR * sizes[0]).sum())
    if rank < len(names):
        empty = np.abs(directions[-1])
        guilty = [names[n] for n in np.flatnonzero(empty > 0.01 * empty.max())]
        raise ValueError(
            "The map must not be singular, but a combination of "
            f"{_listed(guilty)} changes no constant: {len(names)} parameters change "
            f"{rank} combinations of {len(used)} constants. Leave some of them out."
        )


def _from_matrix(matrix: Any, names: Iterable[str], **details: Any) -> Reduction:
    """Return a reduction by a dense or sparse matrix."""
    sparse = coo_array(csr_array(matrix))
    entries = np.stack([sparse.row, sparse.col, sparse.data], axis=1)
    entries = entries[sparse.data != 0]
    return Reduction(tuple(names), sparse.shape[0], entries, **details)


def _composed(first: Reduction, second: Reduction) -> Reduction:
    """Return the reduction by `second` of what `first` left."""
    return _from_matrix(
        first.matrix @ second.matrix,
        second.names,
        covariance=second.covariance,
        explained_variance_ratio=second.explained_variance_ratio,
    )


def _springs(model: "ShellCrystal", n_shells: int | None) -> Reduction:
    """Longitudinal and transverse spring of each shell; what is farther scales."""
    if model.reduction is not None:
        raise ValueError(
            "Springs are combinations of the constants of the crystal, but the model "
            "is reduced already. Start from its full_model."
        )
    crystal = model._crystal
    if n_shells is not None and not 1 <= n_shells <= crystal.shells[-1].number:
        raise ValueError(
            f"n_shells must be from 1 to {crystal.shells[-1].number}, the shells of "
            f"the model; got {n_shells}."
        )
    names: list[str] = []
    rows, columns, values, start = [], [], [], 0
    pairs = pair_labels(crystal.shells, crystal.symbols)
    for shell, pair in zip(crystal.shells, pairs, strict=True):
        numbers = np.arange(start, start + len(shell.elements))
        start += len(numbers)
        if n_shells is not None and shell.number > n_shells:
            continue
        places = [[_AXES.index(axis) for axis in name] for name in shell.elements]
        i, j = np.transpose(places)
        along = np.outer(shell.bonds[0], shell.bonds[0]) / np.sum(shell.bonds[0] ** 2)
        for letter, tensor in (("L", along), ("T", np.eye(3) - along)):
            rows.append(numbers)
            columns.append(np.full(len(numbers), len(names)))
            values.append(tensor[i, j])
            names.append(f"{shell.number}{letter}{pair}")
    near = csr_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(start, len(names)),
    )[crystal.independent]
    beyond = shell_numbers(crystal.names) > (n_shells or crystal.shells[-1].number)
    if not beyond.any():
        return _from_matrix(near, names)
    return _with_column(near, names, "rest", reference_row(model) * beyond)


def _groups(model: "ShellCrystal", groups: Any, others: str) -> Reduction:
    """Factors of groups of constants; other constants are free or scale together."""
    if not isinstance(groups, Mapping) or not groups:
        raise ValueError(
            "by must be 'springs' or a dict, from names to the constants that scale "
            f"together, got {groups!r}."
        )
    if others not in ("free", "rest"):
        raise ValueError(f"others must be 'free' or 'rest', got {others!r}.")
    names, reference = model.parameter_names, reference_row(model)
    owner = np.full(len(names), -1)
    for number, (group, members) in enumerate(groups.items()):
        for place in _places(group, members, names):
            if owner[place] not in (-1, number):
                raise ValueError(
                    f"A constant must be in one group, but {names[place]} is in "
                    f"{list(groups)[owner[place]]} and {group}."
                )
            owner[place] = number
    inside = np.flatnonzero(owner >= 0)
    matrix = csr_array(
        (reference[inside], (inside, owner[inside])), shape=(len(names), len(groups))
    )
    left = np.flatnonzero(owner < 0)
    if not len(left):
        return _from_matrix(matrix, groups)
    if others == "rest":
        return _with_column(matrix, list(groups), "rest", reference * (owner < 0))
    entries = _from_matrix(matrix, groups).entries
    free = np.stack([left, len(groups) + np.arange(len(left)), np.ones(len(left))], 1)
    return Reduction(
        (*groups, *(names[place] for place in left)),
        len(names),
        np.concatenate([entries, free]),
    )


def _places(group: str, members: Any, names: list[str]) -> list[int]:
    """Return the numbers of the constants that a group names."""
    members = [members] if isinstance(members, (str, Integral)) else list(members)
    numbers, shells = {name: n for n, name in enumerate(names)}, shell_numbers(names)
    places, unknown = [], []
    for member in members:
        own = [numbers[member]] if member in numbers else []
        if isinstance(member, Integral) and member is not True and member is not False:
            own = np.flatnonzero(shells == member).tolist()
        places += own
        unknown += [] if own else [member]
    if unknown or not places:
        raise ValueError(
            f"{group} must hold names of constants of the model ({_listed(names)}) or "
            f"numbers of its shells (1 to {shells.max(initial=0)}), got unknown: "
            f"{_listed(unknown) or 'none, it is empty'}."
        )
    return places


def _linear_map(
    model: "ShellCrystal",
    matrix: Any,
    names: str | Sequence[str] | None,
    origin: ArrayLike | None,
) -> Reduction:
    """Any map."""
    if names is None:
        raise ValueError("map needs names, one a column.")
    names = [names] if isinstance(names, str) else list(names)
    dense = np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix)
    shape = len(model.parameter_names), len(names)
    if dense.shape != shape or not np.isfinite(dense.astype(float)).all():
        raise ValueError(
            f"map must be finite, with one row for each of {shape[0]} constants and "
            f"one column for each of {shape[1]} names; got shape {dense.shape}."
        )
    if origin is None:
        return _from_matrix(dense.astype(float), names)
    column = _origin(model, origin)
    return _from_matrix(np.column_stack([column, dense]), ["origin", *names])


def _directions(
    model: "ShellCrystal",
    covariance: ArrayLike | None,
    samples: ArrayLike | None,
    n_components: float | None,
    origin: ArrayLike | None,
) -> Reduction:
    """Principal directions of what is known of the constants, and a common factor."""
    if samples is not None:
        rows = parameter_rows(samples, model.parameter_names)
        samples, origin = rows, rows.mean(axis=0) if origin is None else origin
    origin = _origin(model, reference_row(model) if origin is None else origin)
    found = principal_directions(origin, covariance, samples, n_components)
    return _from_matrix(
        np.column_stack([origin, found.axes]),
        ["origin", *(f"PC{n + 1}" for n in range(found.axes.shape[1]))],
        covariance=found.covariance,
        explained_variance_ratio=found.shares,
    )


def _origin(model: "ShellCrystal", origin: ArrayLike) -> Array:
    """Return the constants that scale together, a column of the map."""
    row = parameter_rows(origin, model.parameter_names)
    if len(row) != 1 or not row.any():
        raise ValueError(
            "origin must be one set of constants, not all zero; got "
            f"{len(row)} {'set' if len(row) == 1 else 'sets'}."
        )
    return row[0]


def _with_column(
    matrix: csr_array, names: list[str], name: str, column: Array
) -> Reduction:
    """Return a reduction with one more parameter, the last."""
    made = _from_matrix(matrix, names)
    rows = np.flatnonzero(column)
    more = np.stack([rows, np.full(len(rows), len(names)), column[rows]], axis=1)
    entries = np.concatenate([made.entries, more])
    return Reduction((*names, name), made.n_constants, entries)


def _listed(names: Sequence[Any]) -> str:
    """Return names for a message, not all of hundreds."""
    shown = ", ".join(map(str, names[:_SHOWN]))
    return shown if len(names) <= _SHOWN else f"{shown}, ... ({len(names)} in all)"
