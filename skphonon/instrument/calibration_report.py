"""Calibration of a measurement by its elastic line: results, tables and text."""

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from skphonon.instrument.measurement import Measurement

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Calibration"]

_LISTED = 12  # detectors that the text names
_TAKEN = {
    "lines": "as the whole pattern agrees within errors",
    "whole pattern": "as lines alone disagree or are less sure",
}
_WITHOUT_PATTERN = 4  # fits, where there is nothing to choose


@dataclass(frozen=True, eq=False, repr=False)
class Calibration:
    r"""A calibrated measurement, and what its elastic line told.

    ``str(calibration)`` is the report. Standard errors hold noise and the scatter that
    is seen between detector banks or Bragg lines, not errors that all of them share.

    Parameters
    ----------
    measurement : Measurement or DetectorMeasurement
        The calibrated measurement.
    elastic : DataFrame with one row a detector bank
        Columns `bank`, `n_rows`, `low` and `high` (scattering angles in degrees or
        :math:`|Q|` in 1/Angstrom that the bank spans), `zero`, `zero_std`, `width` and
        `width_std` (centre and standard deviation of the line in meV, before
        calibration), `area`, `maximum` and `reduced_chi2`. NaN where no line is seen.
    elastic_line : DataFrame with one row an energy
        Columns `energy` (meV, before calibration), `intensity`, `error` and `fit` of
        the mean over all rows.
    pattern : DataFrame with one row a point
        Columns `q` (1/Angstrom, before calibration), `intensity` and `error` of
        elastic scattering and `baseline`, the smooth background of the search.
    reflections : DataFrame with one row a Bragg line
        Columns `q`, `q_std`, `width`, `area` as found; `phase` ("sample", the name of
        a material, or "unknown") and `hkl`; `expected`, the momentum transfer of that
        reflection; `deviation` and `deviation_calibrated` from it, relative; `used`,
        whether it tells of the calibration.
    holders : DataFrame with one row a material
        Columns `name`, `lattice_parameter` and `lattice_parameter_std` (Angstrom),
        `n_lines`, and `missing`, the reflections that should be seen and are not.
    detectors : DataFrame with one row a faulty detector
        Columns `detector` (number of the row), `two_theta`, `kind` ("dead" or "noisy")
        and `ratio` to its neighbours.
    streaks : DataFrame with one row a spurious line
        Columns `energy` and `width` in meV, before calibration, and `height` above
        and in units of its surroundings.
    energy_zero, energy_zero_std : float
        Where the elastic line was found, in meV.
    energy_width, energy_width_std : float
        Its standard deviation in meV, without the width of bins.
    elastic_maximum : float
        Energy of its highest point in meV.
    q_scale, q_scale_std : float
        Factor by which :math:`|Q|` was too large, fitted alone to lines; NaN without a
        crystal, or where that does not explain the lines.
    q_offset, q_offset_std : float
        Offset that was applied, in degrees of scattering angle or in 1/Angstrom; 0
        where none was.
    incident_energy, incident_energy_std : float
        Incident energy in meV that the Bragg lines want by what was found best, also
        where `correct_q` forbids to apply it: with an offset, if that has one, or of
        the factor alone, if nothing differs from its error. NaN without a crystal, or
        where rows have no angles.
    lattice_scale, lattice_scale_std : float
        Factor of the lattice of the crystal that the calibrated Bragg lines want, and
        its uncertainty: the scatter of single lines about the model, as far as noise
        does not explain it, and the error of their mean.
    applied : tuple of str
        What was changed: "energy_zero", "incident_energy", "two_theta", "q_scale",
        "q_offset", "dead" and "noisy".
    warnings : tuple of str
        What not to rely on.
    lattice_parameters : tuple of float, default=()
        Lattice parameter of the crystal as given, in Angstrom: one if it is cubic, else
        the three lengths of its cell; none without a crystal.
    q_fits : DataFrame with one row a fit, default=None
        Columns `fit`, `scale`, `scale_std`, `offset` and `offset_std` (degrees of
        scattering angle, or 1/Angstrom). Fits are "factor alone" of lines; "lines" and
        "whole pattern", with the terms that differ from nothing by four standard
        errors; "best", which of these is taken; "applied". Errors are 0 for what a fit
        does not have.
    q_reason : str, default=""
        Why not all of the best is applied.
    bank_faults : DataFrame with one row a bank, default=None
        Banks of detectors beyond a gap that count a constant factor of those on its
        other side at all inelastic energies: columns `low` and `high` (scattering
        angles in degrees), `n_rows`, `ratio` and `ratio_std`. Nothing of them is
        changed.

    See Also
    --------
    skphonon.instrument.calibrate : Makes one.
    skphonon.inspection.CalibrationDisplay : Picture of it.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import Measurement, SpectrumGrid
    >>> from skphonon.instrument import calibrate
    >>> energy, q = np.arange(-10, 30, 0.5), np.arange(1.0, 6.0, 0.1)
    >>> line = np.exp(-((energy - 0.3) ** 2) / 2)[:, None] * np.ones(len(q))
    >>> grid = SpectrumGrid(energy, q, incident_energy=60.0)
    >>> measured = Measurement(grid.to_rows(line), grid, quantity="sqe")
    >>> print(calibrate(measured, banks=1, resolution="constant"))
    Elastic line (meV): centre 0.29999..., highest at 0.304..., standard deviation ...
    Bragg lines: 0 found, 0 of the sample
    Applied: energy_zero.
    """

    measurement: Measurement
    elastic: "pd.DataFrame"
    elastic_line: "pd.DataFrame"
    pattern: "pd.DataFrame"
    reflections: "pd.DataFrame"
    holders: "pd.DataFrame"
    detectors: "pd.DataFrame"
    streaks: "pd.DataFrame"
    energy_zero: float
    energy_zero_std: float
    energy_width: float
    energy_width_std: float
    elastic_maximum: float
    q_scale: float
    q_scale_std: float
    q_offset: float
    q_offset_std: float
    incident_energy: float
    incident_energy_std: float
    lattice_scale: float
    lattice_scale_std: float
    applied: tuple[str, ...]
    warnings: tuple[str, ...]
    lattice_parameters: tuple[float, ...] = ()
    q_fits: "pd.DataFrame | None" = None
    q_reason: str = ""
    bank_faults: "pd.DataFrame | None" = None

    def nuisance(self, n_std: float = 3.0) -> dict[str, tuple[float, float]]:
        """Return the range of the lattice that Bragg lines leave, for an inverter.

        Parameters
        ----------
        n_std : float, default=3.0
            Half width of the range in standard deviations.

        Returns
        -------
        dict
            ``{"lattice_scale": (low, high)}``, the `nuisance` of
            :class:`~skphonon.LeastSquaresInverter`.

        Raises
        ------
        ValueError
            If no crystal was given, or its lines were not found for certain.
        """
        if not np.isfinite(self.lattice_scale_std):
            why = next((x for x in self.warnings if "Bragg lines" in x), "")
            raise ValueError(
                "The range of lattice_scale must come from Bragg lines of the sample, "
                f"got none. {why or 'Pass the crystal to calibrate.'}"
            )
        half = n_std * self.lattice_scale_std
        return {"lattice_scale": (self.lattice_scale - half, self.lattice_scale + half)}

    def __repr__(self) -> str:
        return (
            f"Calibration(energy_zero={self.energy_zero:.3g}, energy_width="
            f"{self.energy_width:.3g}, q_scale={self.q_scale:.5g}, applied="
            f"{self.applied})"
        )

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    def __str__(self) -> str:
        parts = [
            *_of_the_elastic_line(self),
            *_of_moduli(self),
            *_of_holders(self),
            *_of_faults(self),
            f"Applied: {', '.join(self.applied) or 'nothing'}.",
        ]
        parts += [f"Warning: {text}" for text in self.warnings]
        return "\n".join(parts)


def _of_the_elastic_line(found: Calibration) -> list[str]:
    seen = found.elastic.dropna(subset=["zero"])
    n = max(2, _decimals(found.energy_zero_std))
    lines = [
        "Elastic line (meV): centre "
        f"{with_error(found.energy_zero, found.energy_zero_std)}, highest at "
        f"{found.elastic_maximum:.{n}f}, standard deviation "
        f"{with_error(found.energy_width, found.energy_width_std)}"
    ]
    if len(found.elastic) > 1 and len(seen):
        m = max(2, _decimals(found.energy_width_std))
        lines.append(
            f"  {len(seen)} of {len(found.elastic)} banks: centres "
            f"{seen['zero'].min():.{n}f} to {seen['zero'].max():.{n}f}, standard "
            f"deviations {seen['width'].min():.{m}f} to {seen['width'].max():.{m}f}"
        )
    return lines


def _of_moduli(found: Calibration) -> list[str]:
    table = found.reflections
    sample = table[table["phase"] == "sample"]
    lines = [f"Bragg lines: {len(table)} found, {len(sample)} of the sample"]
    if not np.isfinite(found.q_scale):
        return lines
    used = sample[sample["used"]]
    lines.append(
        "  |Q| is too large by a factor, if nothing else is wrong: "
        f"{with_error(found.q_scale, found.q_scale_std)} ({len(used)} lines)"
    )
    lines += _of_fits(found)
    before, after = (
        100 * np.abs(used[name]).median()
        for name in ("deviation", "deviation_calibrated")
    )
    changed = {"incident_energy", "two_theta", "q_scale", "q_offset"} & {*found.applied}
    what = "is corrected" if changed else "is left as it is"
    lines.append(
        f"  |Q| {what}{': ' if found.q_reason else ''}{found.q_reason}; median "
        f"deviation of lines {before:.2f} %"
        + (f", {after:.2f} % when calibrated" if changed else "")
    )
    lines.append(
        "  lattice_scale for fits: "
        f"{with_error(found.lattice_scale, found.lattice_scale_std)}"
    )
    return lines


def _of_fits(found: Calibration) -> list[str]:
    """Tell what lines and the pattern say, and what would explain the best of it."""
    if found.q_fits is None:
        return []
    fits = found.q_fits.set_index("fit")
    unit = "degrees of scattering angle"
    if not np.isfinite(found.incident_energy):
        unit = "1/Angstrom"
    lines, taken = [], ""
    for name, why in _TAKEN.items():
        if name not in fits.index:
            continue
        row, terms = fits.loc[name], []
        if row["scale_std"] > 0:
            terms.append(f"a factor {with_error(row['scale'], row['scale_std'])}")
        if row["offset_std"] > 0:
            value = with_error(row["offset"], row["offset_std"])
            terms.append(f"an offset of {value} {unit}")
        text = " and ".join(terms) or "nothing beyond its error"
        if not taken and row.equals(fits.loc["best"]):
            taken = name
            text += f", which is taken, {why}" if len(fits) > _WITHOUT_PATTERN else ""
        lines.append(f"  {name}: {text}")
    best = fits.loc["best"]
    if best["offset_std"] > 0 and not best["scale_std"] > 0:
        return lines
    scale, std = best["scale"], best["scale_std"]
    if not std > 0:
        scale, std = found.q_scale, found.q_scale_std
    wanted = []
    if np.isfinite(found.incident_energy):
        wanted.append(
            "incident energy that these lines want: "
            f"{with_error(found.incident_energy, found.incident_energy_std)} meV"
        )
    if found.lattice_parameters:
        lengths = ", ".join(
            with_error(each / scale, each * std / scale**2)
            for each in found.lattice_parameters
        )
        wanted.append(
            "a lattice parameter times "
            f"{with_error(1 / scale, std / scale**2)} ({lengths} Angstrom)"
        )
    if wanted:
        given = ", with that offset" if best["offset_std"] > 0 else ""
        lines.append(f"  {', or '.join(wanted)}{given}")
    return lines


def _of_holders(found: Calibration) -> list[str]:
    lines = []
    for row in found.holders.itertuples():
        mine = found.reflections[found.reflections["phase"] == row.name]
        where = ", ".join(
            f"{x} at {q:.2f}" for x, q in zip(mine["hkl"], mine["q"], strict=True)
        )
        value = with_error(row.lattice_parameter, row.lattice_parameter_std)
        text = f"  {row.name}, a = {value} Angstrom: {where} 1/Angstrom"
        if row.missing:
            text += f" (not seen: {row.missing})"
        lines.append(text)
    unknown = found.reflections[found.reflections["phase"] == "unknown"]
    if len(unknown):
        listed = ", ".join(f"{q:.2f}" for q in unknown["q"])
        whose = "of nothing known" if np.isfinite(found.q_scale) else "not told apart"
        lines.append(f"  {whose}: {listed} 1/Angstrom")
    return lines


def _of_faults(found: Calibration) -> list[str]:
    lines = []
    for kind, rows in found.detectors.groupby("kind"):
        numbers = ", ".join(map(str, rows["detector"][:_LISTED]))
        more = " ..." if len(rows) > _LISTED else ""
        lines.append(
            f"{str(kind).capitalize()} detectors: {numbers}{more} ({len(rows)})"
        )
    if found.bank_faults is not None:
        lines += [
            f"Bank of {row.n_rows} detectors from {row.low:.1f} to {row.high:.1f} "
            f"degrees counts {with_error(row.ratio, row.ratio_std)} times what those "
            "beside it do, at all inelastic energies"
            for row in found.bank_faults.itertuples()
        ]
    lines += [
        f"Spurious line at {row.energy:.{max(1, _decimals(row.width))}f} meV, "
        f"{row.width:.2g} meV wide, "
        f"{row.height:.2g} times its surroundings"
        for row in found.streaks.itertuples()
    ]
    return lines


def with_error(value: float, std: float) -> str:
    """Write a value with its error in the last digits, as 1.0028(2)."""
    if not (np.isfinite(std) and std > 0):
        return f"{value:.4g}"
    digits = max(_decimals(std), 0)
    shown = std * 10.0**digits
    return f"{value:.{digits}f}({shown:.0f})"


def _decimals(std: float) -> int:
    """Return the decimals that an error leaves: two digits of one below 2, or one."""
    if not (np.isfinite(std) and std > 0):
        return 0
    digits = int(np.ceil(-np.log10(std)))
    return digits + int(std * 10.0**digits < 1.95)
