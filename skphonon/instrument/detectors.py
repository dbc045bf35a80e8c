"""Counts by detector and energy transfer, before they are rebinned on |Q| or Q."""

from dataclasses import KW_ONLY

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon._numbers import numbers_of
from skphonon._versioned import immutable, read_only
from skphonon._warnings import warn_user
from skphonon.instrument.measurement import Measurement, MeasurementWarning

__all__ = ["DetectorMeasurement"]

Array = NDArray[np.float64]

_ANGLES = ("polar", "azimuthal", "polar_width", "azimuthal_width")
_BEYOND = 0.02  # share of intensities at energies that no neutron can lose


@immutable
class DetectorMeasurement(Measurement):
    r"""Counts of each detector at each energy transfer in one run.

    It has no grid: :func:`~skphonon.io.reduce_powder` and
    :func:`~skphonon.io.reduce_crystal` make one or more of these a
    :class:`Measurement`. A loop over it gives itself, as it is one run.

    Parameters
    ----------
    data : array-like of shape (n_detectors, n_energy)
        Intensity per meV; NaN where a detector is masked.
    grid : None
        Always.
    error, quantity, units : optional
        As for :class:`Measurement`.
    incident_energy : float
        Energy of the incoming neutrons in meV.
    temperature, energy_resolution, source, details : optional
        As for :class:`Measurement`.
    energy_edges : array-like of shape (n_energy + 1,)
        Borders of the bins of energy transfer in meV, increasing.
    polar, azimuthal : array-like of shape (n_detectors,)
        Scattering angle, and angle about the beam from the horizontal, in degrees.
    polar_width, azimuthal_width : array-like of shape (n_detectors,)
        Angles that a detector spans, in degrees.
    psi : float, default=None
        Rotation of the crystal about the vertical in degrees. None: not known.
    ki_over_kf_scaling : bool, default=None
        Whether the intensities were multiplied by :math:`k_i/k_f`, and so are in
        proportion to S(Q, E). None: not known.

    Raises
    ------
    ValueError
        If shapes do not fit together, or a value is out of range.

    Warns
    -----
    MeasurementWarning
        If intensities lie at energy transfers above the incident energy.

    See Also
    --------
    skphonon.read_nxspe : Read one from a file.

    Examples
    --------
    >>> from skphonon.instrument import DetectorMeasurement
    >>> run = DetectorMeasurement(
    ...     [[1.0, 2.0], [3.0, 4.0]], incident_energy=50.0,
    ...     energy_edges=[5.0, 10.0, 15.0], polar=[30.0, 60.0], azimuthal=[0.0, 0.0],
    ...     polar_width=[1.0, 1.0], azimuthal_width=[10.0, 10.0],
    ... )
    >>> run.psi is None, run.replace(psi=12.0).psi
    (True, 12.0)
    """

    grid: None = None
    _: KW_ONLY
    energy_edges: Array
    polar: Array
    azimuthal: Array
    polar_width: Array
    azimuthal_width: Array
    psi: float | None = None
    ki_over_kf_scaling: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _warn_above_incident_energy(self)

    def _settle_layout(self, data: Array) -> None:
        """Check that there is an intensity for each detector and energy."""
        shape = np.shape(self.data)
        if self.grid is not None or len(shape) != 2:
            raise ValueError(
                "data must have shape (n_detectors, n_energy) and no grid, got shape "
                f"{shape} and grid={self.grid!r}. With a grid it is a Measurement."
            )
        if self.incident_energy is None:
            raise ValueError("incident_energy must be known in meV, got None.")
        edges = _numbers(self.energy_edges, "energy_edges", shape[1] + 1)
        if not ((np.diff(edges) > 0).all() and np.isfinite(edges).all()):
            raise ValueError(
                "energy_edges must be increasing borders of bins in meV, got "
                f"{edges[:3].tolist()} ..."
            )
        psi = None if self.psi is None else float(self.psi)
        if psi is not None and not np.isfinite(psi):
            raise ValueError(f"psi must be an angle in degrees or None, got {psi:g}.")
        angles = {
            name: _numbers(getattr(self, name), name, shape[0]) for name in _ANGLES
        }
        self._keep(energy_edges=edges, psi=psi, **angles)

    def _layout(self) -> dict[str, str]:
        counting = np.isfinite(self.data).any(axis=1)
        polar = self.polar[counting] if counting.any() else self.polar
        edges = self.energy_edges
        if not len(polar):
            return {"detectors": "none"}
        return {
            "detectors": f"{len(self.polar)}, of which {(~counting).sum()} are masked",
            "scattering angle": f"{polar.min():.4g} to {polar.max():.4g} degree",
            "energy": f"{edges[0]:.5g} to {edges[-1]:.5g} meV, {len(edges) - 1} bins",
            "psi": "not known" if self.psi is None else f"{self.psi:.5g} degree",
            "ki_over_kf_scaling": (
                "not known"
                if self.ki_over_kf_scaling is None
                else "yes"
                if self.ki_over_kf_scaling
                else "no"
            ),
        }

    def __len__(self) -> int:
        """Return 1: it is one run."""
        return 1

    def __getitem__(self, number: int | slice) -> "DetectorMeasurement":
        """Return itself: there is one run."""
        range(1)[number]  # raises IndexError, which ends a loop
        return self


def _warn_above_incident_energy(run: DetectorMeasurement) -> None:
    """Warn of intensity at energies that no neutron has to lose."""
    incident, edges = run.incident_energy or np.inf, run.energy_edges
    above = (edges[1:] + edges[:-1]) / 2 > incident
    if not above.any():
        return
    data = run.data[:, above]
    beyond = np.isfinite(data) & (data != 0)
    share = beyond.sum() / max(np.isfinite(run.data).sum(), 1)
    if share > _BEYOND:
        last = edges[1:][above][beyond.any(axis=0)].max()
        warn_user(
            f"Energy transfers must be below incident_energy={incident:g} meV, got "
            f"{share:.0%} of the intensities above it, up to {last:g} meV. Check "
            "incident_energy, in meV.",
            MeasurementWarning,
        )


def _numbers(values: ArrayLike, name: str, length: int) -> Array:
    array = numbers_of(values, name)
    if array.shape != (length,):
        raise ValueError(f"{name} must have shape ({length},), got {array.shape}.")
    return read_only(array)
