"""Broadening of a spectrum by the instrument, and its collection in bins.

Widths are standard deviations of Gaussians. A resolution that changes with the energy
transfer is any function from energies to widths, both in meV; the classes here are
such functions that can be cloned, compared, pickled and searched over.
"""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY
from typing import Any, ClassVar, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from skphonon._validation import StrOptions, at_least, check_parameters, increasing_axis
from skphonon._versioned import Immutable, immutable, read_only

__all__ = [
    "PolynomialResolution",
    "QResolution",
    "TabulatedResolution",
    "bin_kernel",
    "bin_kernel_derivative",
    "instrument_resolution",
    "resolve_widths",
    "total_width",
]

Array = NDArray[np.float64]

_FWHM = 2 * np.sqrt(2 * np.log(2))  # of a Gaussian, in standard deviations
_CERTAIN = 9.0  # widths beyond which a normal distribution is 0 or 1 to rounding
_TABLE_SIZE = 401  # of an instrument: linear interpolation errs by less than 1e-4


@immutable
class _EnergyResolution(Immutable):
    """A function from energy transfer to width."""

    def __call__(self, energy: ArrayLike) -> Array:
        """Return the standard deviation at given energy transfers.

        Parameters
        ----------
        energy : array-like
            Energy transfer in meV, of either sign.

        Returns
        -------
        ndarray of the shape of `energy`
            Standard deviation in meV.

        Raises
        ------
        ValueError
            If the width is not known or not positive at one of the energies.
        """
        energy = np.asarray(energy, dtype=float)
        sigma = self._sigma(energy)
        valid = (sigma > 0) & np.isfinite(sigma)
        if not valid.all():
            raise ValueError(
                f"{type(self).__name__} must be positive at the energies asked for, "
                f"got {sigma[~valid][0]:g} meV at {energy[~valid][0]:g} meV. Correct "
                "its parameters or crop the energy axis."
            )
        return sigma

    def _sigma(self, energy: Array) -> Array:
        raise NotImplementedError


@immutable
class PolynomialResolution(_EnergyResolution):
    r"""Energy resolution as a polynomial of the energy transfer.

    .. math:: w(E) = \sum_k c_k E^k .

    Parameters
    ----------
    coefficients : array-like of shape (n_powers,)
        :math:`c_0, c_1, \ldots` in ascending powers of E, in meV, 1, 1/meV and so on.
    kind : {"sigma", "fwhm"}, default="sigma"
        Whether w is the standard deviation or the full width at half maximum,
        :math:`2 \sqrt{2 \ln 2}` times as large.

    Examples
    --------
    >>> from skphonon.instrument import PolynomialResolution
    >>> resolution = PolynomialResolution([1.5, -0.02])
    >>> resolution([0.0, 25.0])
    array([1.5, 1. ])
    """

    coefficients: Array
    _: KW_ONLY
    kind: str = "sigma"

    _parameter_constraints: ClassVar[dict] = {"kind": [StrOptions({"sigma", "fwhm"})]}

    def _settle(self) -> None:
        check_parameters(self)
        coefficients = read_only(self.coefficients)
        if coefficients.ndim != 1 or not coefficients.size:
            raise ValueError(
                "coefficients must be a non-empty one-dimensional array in ascending "
                f"powers of E, got shape {coefficients.shape}."
            )
        self._keep(coefficients=coefficients)

    def _sigma(self, energy: Array) -> Array:
        unit = _FWHM if self.kind == "fwhm" else 1.0
        return np.polynomial.polynomial.polyval(energy, self.coefficients) / unit


@immutable
class TabulatedResolution(_EnergyResolution):
    """Energy resolution interpolated linearly in a table.

    Parameters
    ----------
    energy : array-like of shape (n,)
        Energy transfer in meV, increasing. The table describes no energy outside it.
    sigma : array-like of shape (n,)
        Standard deviation in meV.

    Examples
    --------
    >>> from skphonon.instrument import TabulatedResolution
    >>> resolution = TabulatedResolution([0.0, 10.0, 40.0], [1.5, 1.2, 0.6])
    >>> resolution([0.0, 5.0, 25.0])
    array([1.5 , 1.35, 0.9 ])
    """

    energy: Array
    sigma: Array

    def _settle(self) -> None:
        table = read_only(increasing_axis(self.energy, "energy of the table"))
        sigma = read_only(self.sigma)
        if sigma.shape != table.shape:
            raise ValueError(
                f"sigma must hold one width for each of {table.size} energies, got "
                f"shape {sigma.shape}."
            )
        self._keep(energy=table, sigma=sigma)

    def _sigma(self, energy: Array) -> Array:
        low, high = self.energy[[0, -1]]
        if not ((energy >= low) & (energy <= high)).all():
            raise ValueError(
                f"Energies must lie within the table, {low:g} to {high:g} "
                f"meV; got {energy.min():g} to {energy.max():g} meV. Extend the table "
                "or crop the energy axis."
            )
        return np.interp(energy, self.energy, self.sigma)


@immutable
class QResolution(Immutable):
    """Resolution in Q of a single crystal, and how it is averaged over.

    :class:`~skphonon.simulation.SingleCrystalSimulator` takes one as `q_resolution`, or
    the width alone.

    Parameters
    ----------
    width : float or array-like of shape (3,), default=0.0
        Standard deviation in 1/Angstrom of a Gaussian: one number, for all directions,
        or three, along the three axes of the grid.
    average_voxels : bool, default=False
        Whether to average over the voxels of a :class:`CrystalGrid` as well, taken as
        Gaussians of the same variance. Without it spectra are those at the centres.
    samples : int, default=3
        Points along each direction in which resolution and voxel are wide, of a
        Gauss-Hermite rule. Raise it where phonons disperse, within that width, by more
        than the resolution in energy.

    Examples
    --------
    >>> from skphonon.instrument import QResolution
    >>> QResolution([0.02, 0.02, 0.05], average_voxels=True)
    QResolution(width=[0.02, 0.02, 0.05], average_voxels=True)
    """

    width: float | Array = 0.0
    _: KW_ONLY
    average_voxels: bool = False
    samples: int = 3

    _parameter_constraints: ClassVar[dict] = {
        "average_voxels": ["boolean"],
        "samples": [at_least(1)],
    }

    def _settle(self) -> None:
        check_parameters(self)
        width = read_only(self.width)
        if width.shape not in ((), (3,)) or not (width >= 0).all():
            raise ValueError(
                "A resolution in Q must be one number or three, in 1/Angstrom and not "
                f"negative; got {self.width!r}."
            )
        self._keep(width=width if width.ndim else float(width))


def as_q_resolution(given: Any) -> QResolution:
    """Return the resolution in Q that is meant: numbers are its width."""
    return given if isinstance(given, QResolution) else QResolution(given)


def instrument_resolution(
    instrument: str,
    *,
    incident_energy: float,
    chopper_frequency: int,
    chopper_package: str | None = None,
) -> TabulatedResolution:
    """Return the energy resolution of a direct-geometry spectrometer, by its name.

    The widths are those of the PyChop model in the ResINS library
    (https://resins.readthedocs.io), which is needed to call this function but not to
    use or unpickle what it returns. ResINS fits a polynomial to its formula for energy
    loss. Continued to energy gain, it departs from that formula by up to 1 % at a
    quarter, 5 % at half and 22 % at the whole of the incident energy.

    Parameters
    ----------
    instrument : str
        A spectrometer with a Fermi chopper: ``"ARCS"``, ``"HYSPEC"``, ``"MAPS"``,
        ``"MARI"``, ``"MERLIN"`` or ``"SEQUOIA"``.
    incident_energy : float
        Energy of the incoming neutron in meV.
    chopper_frequency : int
        Frequency of the chopper in Hz.
    chopper_package : str, default=None
        Slit package of the chopper, such as ``"ARCS-100-1.5-AST"``; None takes that
        which ResINS prefers.

    Returns
    -------
    TabulatedResolution
        For energy transfers from minus to plus the incident energy.

    Raises
    ------
    ImportError
        If ResINS is not installed.
    ValueError
        If the instrument or the slit package is unknown, or the instrument cannot run
        with these settings.

    Examples
    --------
    >>> from skphonon.instrument import instrument_resolution
    >>> widths = instrument_resolution(
    ...     "ARCS", incident_energy=50.0, chopper_frequency=300
    ... )  # doctest: +SKIP
    >>> widths([0.0, 45.0]).round(2)  # doctest: +SKIP
    array([0.88, 0.37])
    """
    try:
        from resins import Instrument
        from resins.models.model_base import InvalidInputError
        from resins.models.pychop import NoTransmissionError
    except ImportError as error:
        raise ImportError(
            "instrument_resolution needs ResINS: pip install skphonon[resins]"
        ) from error

    if not incident_energy > 0:
        raise ValueError(
            f"incident_energy must be positive (meV), got {incident_energy!r}."
        )
    packages = {
        name: _slit_packages(Instrument.from_default(name))
        for name in Instrument.available_instruments()
    }
    _check_name("instrument", instrument, [name for name in packages if packages[name]])
    if chopper_package is not None:
        _check_name("chopper_package", chopper_package, packages[instrument])
    try:
        model = Instrument.from_default(instrument).get_resolution_function(
            e_init=incident_energy,
            chopper_frequency=chopper_frequency,
            chopper_package=chopper_package,
        )
    except (InvalidInputError, NoTransmissionError) as error:
        raise ValueError(f"{instrument} cannot run so. ResINS says: {error}") from error
    energy = np.linspace(-incident_energy, incident_energy, _TABLE_SIZE)
    return TabulatedResolution(
        energy, model.get_characteristics(energy[:, None])["sigma"]
    )


def resolve_widths(
    resolution: float | Callable[[Array], ArrayLike], energies: ArrayLike
) -> Array:
    """Return the width that a constant or a function gives at some energies.

    Parameters
    ----------
    resolution : float or callable
        Standard deviation in meV, at least 0: one for all energies, or a function of
        an array of energy transfers that returns an array of the same shape.
    energies : array-like
        Energy transfer in meV.

    Returns
    -------
    ndarray of the shape of `energies`
        Standard deviation in meV.

    Raises
    ------
    ValueError
        If a width is negative or not finite, or the function returns another shape.
    """
    energies = np.asarray(energies, dtype=float)
    if not callable(resolution):
        if not 0 <= resolution < np.inf:
            raise ValueError(
                "A constant resolution must be a finite standard deviation of at least "
                f"0 meV, got {resolution!r}."
            )
        return np.full(energies.shape, float(resolution))
    widths = np.asarray(resolution(energies), dtype=float)
    if widths.shape != energies.shape:
        raise ValueError(
            "A resolution function must return one width for each energy, shape "
            f"{energies.shape}; got shape {widths.shape}."
        )
    valid = (widths >= 0) & np.isfinite(widths)
    if not valid.all():
        raise ValueError(
            "A resolution function must return finite widths of at least 0 meV, got "
            f"{widths[~valid][0]:g} at {energies[~valid][0]:g} meV."
        )
    return widths


def bin_kernel(edges: ArrayLike, samples: ArrayLike, sigma: ArrayLike) -> Array:
    r"""Return how much a line at each sample point adds to the density in each bin.

    A line of unit intensity, broadened by a Gaussian and collected in a bin of width
    :math:`\Delta`, gives the mean density

    .. math:: k = \frac{1}{\Delta}\left[\Phi\left(\frac{b - x}{\sigma}\right) -
                  \Phi\left(\frac{a - x}{\sigma}\right)\right],

    with :math:`\Phi` the normal distribution function and a, b the borders of the bin.

    Parameters
    ----------
    edges : array-like of shape (..., n_bins + 1)
        Borders of the bins, increasing.
    samples : array-like of shape (n_samples,)
        Positions of the lines, in the unit of `edges`.
    sigma : float or array-like of shape (..., n_samples)
        Standard deviation of the resolution, one for all lines or one for each; 0
        leaves the width of the bins.

    Returns
    -------
    ndarray of shape (..., n_bins, n_samples)
        Per unit of `edges`; a column sums to one when multiplied by the widths of
        bins that cover the line.

    Raises
    ------
    ValueError
        If a width is negative or NaN.
    """
    edges, sigma = np.asarray(edges, dtype=float), np.asarray(sigma, dtype=float)
    if not (sigma >= 0).all():
        raise ValueError(f"sigma must be at least 0, got {np.min(sigma):g}.")
    distance = edges[..., None] - np.asarray(samples, dtype=float)
    sigma = sigma[..., None, :] if sigma.ndim else sigma
    broad = sigma > 0
    scaled = distance / np.where(broad, sigma, 1.0)
    below = np.heaviside(scaled, 0.5)
    seen = broad & (np.abs(scaled) < _CERTAIN)
    below[seen] = ndtr(scaled[seen])
    return np.diff(below, axis=-2) / np.diff(edges)[..., None]


def bin_kernel_derivative(
    edges: ArrayLike, samples: ArrayLike, sigma: ArrayLike, changed: str
) -> Array:
    r"""Return the derivative of `bin_kernel` with the width or the place of each line.

    .. math:: \frac{\partial k}{\partial \sigma} = \frac{1}{\Delta\,\sigma}
              \left[\frac{a - x}{\sigma}\,\varphi\left(\frac{a - x}{\sigma}\right) -
              \frac{b - x}{\sigma}\,\varphi\left(\frac{b - x}{\sigma}\right)\right],
              \qquad
              \frac{\partial k}{\partial x} = \frac{1}{\Delta\,\sigma}
              \left[\varphi\left(\frac{a - x}{\sigma}\right) -
              \varphi\left(\frac{b - x}{\sigma}\right)\right],

    with :math:`\varphi` the normal density and the other symbols as in `bin_kernel`.

    Parameters
    ----------
    edges, samples, sigma : array-like
        As for `bin_kernel`, `sigma` not 0.
    changed : {"width", "place"}
        Whether :math:`\sigma` or x changes.

    Returns
    -------
    ndarray of shape (..., n_bins, n_samples)
        Per square of the unit of `edges`.

    Raises
    ------
    ValueError
        If a width is not positive: at 0 the kernel has no derivative.
    """
    edges, sigma = np.asarray(edges, dtype=float), np.asarray(sigma, dtype=float)
    if not (sigma > 0).all():
        raise ValueError(
            "sigma must be positive where a derivative is asked for, got "
            f"{np.min(sigma):g}. Give the resolution a width."
        )
    sigma = sigma[..., None, :] if sigma.ndim else sigma
    scaled = (edges[..., None] - np.asarray(samples, dtype=float)) / sigma
    slope = -np.exp(-(scaled**2) / 2) / (np.sqrt(2 * np.pi) * sigma)
    if changed == "width":
        slope = scaled * slope
    return np.diff(slope, axis=-2) / np.diff(edges)[..., None]


def total_width(edges: ArrayLike, sigma: ArrayLike) -> float:
    """Return the standard deviation of narrowest resolution and narrowest bin together.

    Parameters
    ----------
    edges : array-like of shape (n_bins + 1,)
        Borders of the bins, increasing.
    sigma : float or array-like
        Standard deviations of the resolution, in the unit of `edges`.

    Returns
    -------
    float
        In the unit of `edges`.
    """
    return float(np.hypot(np.min(sigma), np.diff(edges).min() / np.sqrt(12)))


def _slit_packages(instrument: Any) -> tuple[str, ...]:
    """Return the slit packages of a Fermi chopper; none for another instrument."""
    settings = instrument.get_model_signature().parameters
    if not {"chopper_frequency", "chopper_package"} <= set(settings):
        return ()
    return get_args(settings["chopper_package"].annotation)


def _check_name(parameter: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise ValueError(
            f"{parameter} must be one of {', '.join(known)}; got {name!r}."
        )
