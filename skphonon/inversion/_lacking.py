"""What a fit does not have, and how much of its misfit that would explain."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skphonon.instrument.background import terms_on_axes
from skphonon.instrument.holders import MODELLED
from skphonon.inversion._contributions import FixedRow, OtherCrystal
from skphonon.inversion._scores import scores
from skphonon.inversion._systematics import linear_about, more_shells
from skphonon.simulation import ElasticTail, MultipleScattering
from skphonon.simulation.beside_sample import of_holder

__all__ = ["lacking"]

Array = NDArray[np.float64]

_NUISANCES = {  # with their units; what a user can fit along or mend
    "energy_offset": "meV",
    "energy_scale": "",
    "energy_resolution": "",
    "energy_resolution_slope": "",
    "q_resolution": "",
    "q_offset": "1/Angstrom",
    "q_scale": "",
    "lattice_scale": "",
    "two_theta_offset": "degree",
    "mean_square_displacement": "Angstrom^2",
    "temperature": "K",
}
_LIKE_A_HOLDER = 0.7  # correlation with a given spectrum of a can
_SAME = 0.99  # correlation with a tail that is there
_TAIL_WIDTHS = (1.0, 1.5)  # of an elastic line, in widths of the resolution
_HIGHER = 2  # degrees of a background
_COLUMNS = ["gain", "n_terms", "share", "step", "std", "unit"]


def lacking(fit: Any, context: Any) -> pd.DataFrame:
    """Return what is lacking, the likeliest first; empty where nothing can be told."""
    empty = pd.DataFrame(columns=_COLUMNS)
    if context is None or not np.isfinite(fit.residual).any():
        return empty
    search, errors = context
    if len(search.parts) > 1 or search.scale == "normalized":
        return empty
    seen = np.isfinite(fit.residual)
    problem, _, pixels = search.problem(fit.spectrum[seen], seen, errors)
    x = np.array(
        [*fit.parameters, *(fit.nuisance[name] for name in search.model.nuisance)]
    )
    evaluation = problem(x)
    residual = evaluation.residual * problem.unit
    n_free = max(residual.size - x.size - evaluation.n_fitted, 1)
    # so that chi^2 per degree of freedom is that of the fit, whoever told the noise
    chi2 = max(float(fit.figures["reduced_chi2"]), np.finfo(float).tiny)
    noise = np.sqrt(max(residual @ residual / n_free, np.finfo(float).tiny) / chi2)
    linear = linear_about(problem, search.task, x, evaluation.weights, noise)
    weight = problem.weight / noise
    scale = float(np.nan_to_num(evaluation.weights[0, 0], nan=1.0))
    groups = _candidates(fit, search, x, pixels, weight, scale)
    found = _scored(linear, residual / noise, groups)
    beyond = max(float(residual @ residual) / noise**2 - n_free, 1.0)
    rows = {}
    for name, score in found.items():
        if not score.n_columns:
            continue
        single = len(score.step) == 1
        rows[name] = {
            "gain": score.gain,
            "n_terms": score.n_columns,
            "share": min(score.gain / beyond, 1.0),
            "step": score.step[0] if single else np.nan,
            "std": score.std[0] if single else np.nan,
            "unit": _NUISANCES.get(name, ""),
        }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=_COLUMNS)
    # what many terms gain by chance does not count
    return table.iloc[np.argsort(-(table["gain"] - 2 * table["n_terms"]).to_numpy())]


def _scored(linear, residual, groups):
    """Return the scores of groups of columns, knowledge of them included."""
    off, rows = linear.before
    roots = {
        name: np.linalg.cholesky(information).T
        for name, (_, information) in groups.items()
        if information is not None
    }
    n, m = len(residual), len(off)
    height = n + m + sum(map(len, roots.values()))

    def tall(blocks, width):
        """Return blocks at some rows, zeros elsewhere."""
        found = np.zeros((height, width))
        for first, block in blocks:
            found[first : first + len(block), width - block.shape[1] :] = block
        return found

    own, begin = {}, n + m
    for name, (block, _) in groups.items():
        root = roots.get(name, np.zeros((0, block.shape[1])))
        own[name] = tall([(0, block), (begin, root)], block.shape[1])
        begin += len(root)
    both = np.hstack([linear.columns, linear.slopes])
    fitted = tall([(0, both), (n, rows)], both.shape[1])
    whole = np.zeros(height)
    whole[: n + m] = np.concatenate([residual, off])
    return scores(whole, fitted, own)


def _candidates(fit, search, x, pixels, weight, scale):
    """Return columns of what is lacking, in units of the noise, and knowledge of it."""
    simulator, model = search.model.sources[0].simulator, search.model
    n = search.task.n_constants
    groups: dict[str, tuple[Array, Array | None]] = {}
    known = dict(zip(model.nuisance, x[n:], strict=True))
    names = [
        name
        for name in getattr(simulator, "nuisance_names", ())
        if name in _NUISANCES and name not in known
    ]
    if names and hasattr(simulator, "nuisance_reference"):
        usual = dict(
            zip(simulator.nuisance_names, simulator.nuisance_reference, strict=True)
        )
        values = {name: [value] for name, value in known.items()}
        values |= {name: [usual[name]] for name in names}
        names = [name for name in names if usual[name] > 0 or "resolution" not in name]
        values = {
            name: each for name, each in values.items() if name in (*known, *names)
        }
        change = simulator.jacobian(x[None, :n], nuisance=values)[0][pixels]
        order = list(values)
        for name in names:
            column = change[:, n + order.index(name)] * scale * weight
            groups[name] = column[:, None], None
    shells = more_shells(simulator, model, x, n)
    for name, (slopes, information) in shells.items():
        groups[name] = slopes[pixels] * (scale * weight)[:, None], information
    groups |= _beside(simulator, search, fit, pixels, weight)
    if not np.ndim(search.background) and search.background is not None:
        (part,) = search.parts
        first = len(terms_on_axes(part.axes, int(search.background)))
        terms = terms_on_axes(part.axes, int(search.background) + _HIGHER)[first:]
        groups["background of a higher degree"] = (
            terms[:, pixels].T * weight[:, None],
            None,
        )
    return groups


def _beside(simulator, search, fit, pixels, weight):
    """Return columns of holders, and of multiple scattering."""
    groups: dict[str, tuple[Array, Array | None]] = {}
    grid: Any = getattr(simulator, "grid", None)
    crystal: Any = getattr(simulator, "model", None)
    if not hasattr(crystal, "symbols") or not (
        hasattr(grid, "q") or hasattr(grid, "moduli")
    ):
        return groups
    given = search.model.sources[1:]
    rows = [each.row[pixels] for each in given if isinstance(each, FixedRow)]
    # a noisy can leaves some of itself, which is no reason to add another one
    has_can = any(
        isinstance(each, OtherCrystal) or getattr(each, "error", None) is not None
        for each in given
    )
    for material in MODELLED if not has_can else ():
        holder = of_holder(material, simulator)
        if set(holder.model.symbols) == set(crystal.symbols):
            continue
        row = holder.simulate(holder.model.reference)[0][pixels]
        if all(np.corrcoef(row, each)[0, 1] < _LIKE_A_HOLDER for each in rows):
            groups[f"a holder of {material}"] = (row * weight)[:, None], None
    for width in _tail_widths(simulator):
        try:
            tail = ElasticTail(width).on(simulator)[0][pixels]
        except ValueError:  # all energies are beyond it
            continue
        if tail.any() and all(np.corrcoef(tail, each)[0, 1] < _SAME for each in rows):
            name = f"an elastic tail of {width:.2g} meV"
            groups[name] = (tail * weight)[:, None], None
    fitted = (fit.spectrum - fit.residual)[None]
    flat = MultipleScattering().of_sample(np.nan_to_num(fitted), grid)[0][pixels]
    groups["multiple scattering"] = (flat * weight)[:, None], None
    return groups


def _tail_widths(simulator):
    """Return widths in meV that an elastic line may have."""
    resolution = getattr(simulator, "energy_resolution", None)
    if resolution is None:
        return []
    width = float(resolution(np.zeros(1))[0] if callable(resolution) else resolution)
    return [factor * width for factor in _TAIL_WIDTHS if width > 0]
