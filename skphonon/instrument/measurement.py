"""A measurement: intensities, and how they were measured as far as a file tells it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, field
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_dilation

from skphonon._validation import positive_number
from skphonon._versioned import Immutable, immutable, read_only
from skphonon._warnings import warn_user
from skphonon.physics.scattering import kinematic_mask

__all__ = [
    "TRANSPOSED",
    "Measurement",
    "MeasurementWarning",
    "require_grid",
    "simulator_settings",
]

Array = NDArray[np.float64]

_QUANTITIES = ("sqe", "chi")
_ASKED = (
    "quantity",
    "temperature",
    "energy_resolution",
)  # settings that a simulator shares
#: Advice on images that have their axes exchanged.
TRANSPOSED = (
    "The images look transposed: rows are energies, columns are |Q|. Turn them with "
    "images.swapaxes(-1, -2) before grid.to_rows."
)
_BEYOND = 0.02  # share of pixels with intensity where no neutron can arrive


class MeasurementWarning(UserWarning):
    """A measurement is probably not as it is described."""


@immutable
class Measurement(Immutable):
    r"""Measured spectra, with all that is known of how they were measured.

    A value that the file does not tell is None, and is asked for by name where it is
    first needed. A measurement does not change: :meth:`replace` makes another one.

    Parameters
    ----------
    data : array-like of shape (n_spectra, n_pixels) or (n_pixels,)
        Intensities, one spectrum a row; NaN where nothing was measured.
    grid : SpectrumGrid, AngleGrid, CrystalGrid or PathGrid
        The pixels.
    error : array-like of the shape of `data`, default=None
        Standard deviations; NaN where there is none.
    quantity : {"sqe", "chi"}, default=None
        Scattering function S(Q, E) or susceptibility :math:`\chi''`, to which the
        intensities are in proportion.
    incident_energy : float, default=None
        Energy of the incoming neutrons in meV. None takes that of the grid.
    temperature : float or array-like of shape (n_spectra,), default=None
        Temperature of the sample in K.
    energy_resolution : float or callable, default=None
        Standard deviation of the resolution in meV, or a function from energy transfer
        in meV to it.
    source : str, default=None
        Origin of the numbers, such as the path of a file.
    details : mapping, default=None
        Anything else that a reader finds, by name.

    Raises
    ------
    ValueError
        If shapes do not fit together, or a value is out of range.

    Warns
    -----
    MeasurementWarning
        If intensities lie where no neutron of this incident energy can arrive.

    See Also
    --------
    skphonon.PowderSimulator.from_measurement : Simulate what was measured.

    Examples
    --------
    >>> from skphonon import Measurement, SpectrumGrid
    >>> grid = SpectrumGrid([10.0, 20.0], [1.0, 2.0, 3.0], incident_energy=50.0)
    >>> measured = Measurement(
    ...     [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], grid, quantity="sqe", temperature=300.0
    ... )
    >>> measured.incident_energy, measured.energy_resolution is None
    (50.0, True)
    >>> measured.replace(energy_resolution=1.2).energy_resolution
    1.2
    """

    data: Array
    grid: Any
    _: KW_ONLY
    error: Array | None = None
    quantity: str | None = None
    incident_energy: float | None = None
    temperature: float | Array | None = None
    energy_resolution: float | Callable | None = None
    source: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        _warn_beyond_the_limit(self)

    def _settle(self) -> None:
        data = _rows(self.data, "data")
        if np.isinf(data).any():
            raise ValueError(
                "data must be finite, or NaN where nothing was measured, got "
                f"{np.isinf(data).sum()} infinite values."
            )
        self._settle_layout(data)
        self._keep(data=data)
        incident = self.incident_energy
        if incident is None:
            incident = getattr(self.grid, "incident_energy", None)
        resolution = self.energy_resolution
        if not callable(resolution):
            resolution = positive_number(
                resolution, "energy_resolution", "meV", or_zero=True
            )
        self._keep(
            error=None if self.error is None else _errors(self.error, data),
            quantity=_quantity(self.quantity),
            incident_energy=positive_number(incident, "incident_energy", "meV"),
            temperature=_temperature(self.temperature, len(self)),
            energy_resolution=resolution,
            details=_frozen(_details(self.details)),
        )

    def _settle_layout(self, data: Array) -> None:
        """Check that there is an intensity for each pixel."""
        if not hasattr(self.grid, "n_pixels"):
            raise TypeError(
                "grid must be a SpectrumGrid, AngleGrid, CrystalGrid or PathGrid, got "
                f"{type(self.grid).__name__}."
            )
        if data.shape[1] != self.grid.n_pixels:
            raise ValueError(
                f"data must have one column for each of the {self.grid.n_pixels} "
                f"pixels of the grid, {self.grid.shape}, got shape {data.shape}. Turn "
                "images into rows with grid.to_rows."
            )

    def __repr__(self) -> str:
        shape = " x ".join(map(str, np.shape(self.data)))
        known = [
            f"{name}={getattr(self, name)!r}"
            for name in (*_ASKED, "incident_energy", "source")
        ]
        layout = "None" if self.grid is None else type(self.grid).__name__
        return (
            f"{type(self).__name__}(data of {shape}, grid={layout}, {', '.join(known)})"
        )

    def __len__(self) -> int:
        """Return the number of spectra."""
        return len(self.data)

    def __getitem__(self, number: int | slice) -> Self:
        """Return the measurement of one or more spectra, with their temperature."""
        if not isinstance(number, slice) and not -len(self) <= number < len(self):
            raise IndexError(  # which ends a loop
                f"There are {len(self)} spectra, got number {number}."
            )
        row = range(len(self))[number]
        temperature = self.temperature
        if isinstance(temperature, np.ndarray):  # one for each spectrum
            temperature = temperature[row]
        error = None if self.error is None else np.atleast_2d(self.error[number])
        one = object.__new__(type(self))  # checked and warned of already
        one._keep(**self.settings())
        one._keep(
            data=np.atleast_2d(self.data[number]), error=error, temperature=temperature
        )
        return one

    def __iter__(self) -> Iterator[Self]:
        return (self[row] for row in range(len(self)))


def simulator_settings(
    measurement: Measurement, simulator: Any, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments that make a class of simulators record what was measured.

    Those that are given come first; only arguments of the constructor are asked for.
    """
    require_grid(measurement)
    incident = measurement.incident_energy
    of_grid = getattr(measurement.grid, "incident_energy", None)
    if incident and of_grid and not np.isclose(incident, of_grid, rtol=1e-3):
        raise ValueError(
            f"The measurement and its grid must have one incident energy, got "
            f"{incident:g} and {of_grid:g} meV. Set that of the grid too: "
            f"replace(grid=grid.replace(incident_energy={incident:g}))."
        )
    names = [
        name
        for name in _ASKED
        if name in simulator._parameter_constraints and name not in given
    ]
    known = {name: getattr(measurement, name) for name in names}
    missing = [name for name, value in known.items() if value is None]
    if missing:
        whose = f" ({measurement.source})" if measurement.source else ""
        raise ValueError(
            f"{simulator.__name__}.from_measurement must know {' and '.join(missing)}, "
            f"which the measurement{whose} does not tell. Pass "
            f"{', '.join(f'{name}=...' for name in missing)}."
        )
    several = known.get("temperature")
    if isinstance(several, np.ndarray):  # one for each spectrum
        if np.ptp(several) > 0:
            raise ValueError(
                "A simulator has one temperature, got a measurement of "
                f"{len(several)}: {several[:4].tolist()} ... K. Take one spectrum, "
                "measurement[0], or pass temperature=..."
            )
        known["temperature"] = float(several[0])
    return {**known, **given}


def require_grid(measurement: Measurement) -> None:
    """Refuse what detectors counted and nobody has rebinned yet."""
    if not isinstance(measurement, Measurement):
        raise TypeError(
            "A Measurement must be given, such as a reader returns, got "
            f"{type(measurement).__name__}. from_measurement takes the model first."
        )
    if measurement.grid is None:
        whose = f" of {measurement.source}" if measurement.source else ""
        raise ValueError(
            f"The measurement{whose} must have a grid, got intensities by detector. "
            "Rebin it with reduce_powder or reduce_crystal first."
        )


def _rows(values: ArrayLike, name: str) -> Array:
    rows = np.atleast_2d(np.asarray(values, dtype=float))
    if rows.ndim != 2:
        raise ValueError(
            f"{name} must have one spectrum a row, got shape {rows.shape}. Turn images "
            "into rows with grid.to_rows."
        )
    return read_only(rows)


def _errors(values: ArrayLike, data: Array) -> Array:
    error = _rows(values, "error")
    if error.shape != data.shape:
        raise ValueError(
            f"error must have the shape of data, {data.shape}, got {error.shape}."
        )
    if (error < 0).any():
        raise ValueError(
            f"error must not be negative, got {np.nanmin(error):g}. It holds standard "
            "deviations."
        )
    return error


def _details(values: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if values is not None and not isinstance(values, Mapping):
        raise ValueError(
            f"details must be a mapping from names, got {type(values).__name__}."
        )
    return values or {}


def _quantity(value: str | None) -> str | None:
    if value is not None and not (isinstance(value, str) and value in _QUANTITIES):
        raise ValueError(
            f"quantity must be one of {', '.join(_QUANTITIES)} or None, got {value!r}."
        )
    return value


def _frozen(value: Any) -> Any:
    """Return details that nobody can write into."""
    if isinstance(value, Mapping):
        return MappingProxyType({name: _frozen(each) for name, each in value.items()})
    if isinstance(value, np.ndarray) and value.dtype != object:
        return read_only(value, None)
    return value


def _temperature(value: ArrayLike | None, n_spectra: int) -> float | Array | None:
    if value is None:
        return None
    values = np.asarray(value, dtype=float)
    if values.shape not in ((), (n_spectra,)):
        raise ValueError(
            f"temperature must be a number or one for each of {n_spectra} spectra, got "
            f"shape {values.shape}."
        )
    if not ((values >= 0) & (values < np.inf)).all():
        raise ValueError(f"temperature must be at least 0 K, got {value!r}.")
    return read_only(values) if values.ndim else float(values)


def _warn_beyond_the_limit(measurement: Measurement) -> None:
    """Warn of intensity where energy and momentum cannot both be conserved."""
    grid, incident = measurement.grid, measurement.incident_energy
    if incident is None or not hasattr(grid, "q"):
        return
    images = grid.to_image(measurement.data)
    found = (np.isfinite(images) & (images != 0)).any(axis=0)
    share = _share_beyond(found, grid.energy, grid.q, incident)
    if share <= _BEYOND:
        return
    square = found.shape[0] == found.shape[1]
    if square and _share_beyond(found.T, grid.energy, grid.q, incident) < share / 2:
        advice = TRANSPOSED
    else:
        advice = (
            "Check incident_energy, and that the axes are energy in meV (not THz or "
            "1/cm) and |Q| in 1/Angstrom."
        )
    warn_user(
        f"{share:.0%} of the pixels with intensity lie where no neutron of "
        f"incident_energy={incident:g} meV can arrive. {advice}",
        MeasurementWarning,
    )


def _share_beyond(
    found: NDArray[np.bool_], energy: Array, q: Array, incident_energy: float
) -> float:
    """Return the share of pixels with intensity that touch no reachable one."""
    reachable = np.zeros(found.shape, dtype=bool)
    below = energy < incident_energy
    reachable[below] = kinematic_mask(energy[below], q, incident_energy)
    near = binary_dilation(reachable, np.ones((3, 3)))
    return (found & ~near).sum() / max(found.sum(), 1)
