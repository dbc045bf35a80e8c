"""The report of a fit, as text."""

from typing import TYPE_CHECKING

import numpy as np

from skphonon.fitting.covariance import strongest_correlations
from skphonon.fitting.knowledge import pull_of

if TYPE_CHECKING:
    from skphonon.inversion.fit import SpectrumFit

__all__ = ["report_of"]

_MOST = 12  # correlations that are told


def report_of(fit: "SpectrumFit", min_correlation: float) -> str:
    """Return statistics, values, correlations and verdict."""
    frame = fit.to_frame()
    lines = ["[[Fit]]", *_statistics(fit)]
    unit = " (eV/Angstrom^2)" if hasattr(fit.model, "bond_tensors") else ""
    constants = frame[frame["kind"] == "constant"]
    lines += [f"[[Constants]]{unit}", *_values(constants)]
    for kind, title in (
        ("nuisance", "Fitted along"),
        ("weight", "Weights"),
        ("background", "Background"),
    ):
        own = frame[frame["kind"] == kind]
        if len(own):
            lines += [f"[[{title}]]", *_values(own)]
    lines += _shares(fit)
    lines += _observed(fit)
    lines += _correlations(fit, min_correlation)
    lines += ["[[Verdict]]", *(f"    {each}" for each in str(fit.verdict_).split("\n"))]
    return "\n".join(lines)


def _statistics(fit):
    seen = int(np.isfinite(fit.residual).sum())
    figures = fit.figures
    told = {
        "pixels": str(seen),
        "constants": str(len(fit.parameters)),
        "simulations": str(figures.get("n_evaluations", "not known")),
        "chi^2 per degree of freedom": f"{figures.get('reduced_chi2', np.nan):.4g}",
        "NMSE": f"{figures.get('loss', np.nan):.4g}",
    }
    if not figures.get("converged", True):
        told["converged"] = "no: do not use the values"
    if fit.prior is not None:
        pull = pull_of(fit.parameters, *fit.prior)
        n_constants = len(fit.parameters)
        told["pull of the prior (chi^2)"] = f"{pull:.3g} of {n_constants} constants"
    width = max(map(len, told))
    return [f"    {name.ljust(width)} = {value}" for name, value in told.items()]


def _values(frame):
    width = max(map(len, frame.index)) + 1
    return [
        f"    {(name + ':').ljust(width)} {_value(row)}{_beside(row)}"
        for name, row in frame.iterrows()
    ]


def _value(row):
    value, std = row["value"], row["std"]
    if not np.isfinite(std):
        known = "" if np.isnan(std) else " +/- infinity (not determined)"
        return f"{value:.5g}{known}"
    share = f" ({abs(std / value):.1%})" if value else ""
    digits = 0 if std == 0 else max(1 - int(np.floor(np.log10(std))), 0)
    return f"{value:.{digits}f} +/- {std:.{digits}f}{share}"


def _beside(row):
    told = []
    if np.isfinite(row.get("start", np.nan)):
        told.append(f"start {row['start']:.4g}")
    if np.isfinite(row["prior"]):
        told.append(
            f"prior {row['prior']:.4g} +/- {row['prior_std']:.2g}, moved "
            f"{row['pull']:+.1f}"
        )
    if row["at_bound"]:
        told.append(f"at its {'upper' if row['at_bound'] > 0 else 'lower'} bound")
    return f"  [{'; '.join(told)}]" if told else ""


def _shares(fit):
    """Tell what took which share of the intensity, if there is more than the sample."""
    if fit.shares is None or not np.isfinite(fit.shares.to_numpy(float)).any():
        return []
    told = [f"{name} {share:.1%}" for name, share in fit.shares.items() if share]
    return ["[[Shares of the intensity]]", f"    {', '.join(told)}"]


def _observed(fit):
    """Tell what was measured elsewhere beside what the fit gives."""
    table = fit.observed
    if not len(table):
        return []
    width = max(map(len, table["quantity"])) + 1
    return ["[[Measured elsewhere]]"] + [
        f"    {(row.quantity + ':').ljust(width)} {row.measured:.5g} +/- "
        f"{row.std:.2g}, here {row.calculated:.5g} ({row.deviation:+.1f})"
        for row in table.itertuples()
    ]


def _correlations(fit, least):
    names = fit.parameter_names
    told = strongest_correlations(fit.covariance, least)
    lines = [f"    C({names[i]}, {names[k]}) = {c:+.2f}" for i, k, c in told[:_MOST]]
    if len(told) > _MOST:
        lines.append(f"    and {len(told) - _MOST} more")
    title = f"[[Correlations]] (unreported are below {least:g})"
    return [title, *lines] if lines else []
