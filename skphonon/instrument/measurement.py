"""A measurement: intensities, and how they were measured as far as a file tells it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_dilation

from skphonon._validation import positive_number
from skphonon._versioned import Immutable, immutable
from skphonon._warnings import warn_user
from skphonon.instrument._advice import MeasurementWarning
from skphonon.instrument._arrays import laid_out
from skphonon.instrument._conditions import (
    MARK,
    details_of,
    errors_of,
    frozen,
    is_marked,
    quantity_of,
    rows_of,
    shape_of,
    temperature_of,
    text_of,
    told,
    told_crystal,
    told_detail,
    told_errors,
    told_range,
)
from skphonon.instrument._pixels import TRANSPOSED
from skphonon.physics.scattering import kinematic_mask

if TYPE_CHECKING:
    from pandas import Series

    from skphonon.instrument.maps import SpectrumMapDisplay

__all__ = [
    "Measurement",
    "MeasurementWarning",
    "require_grid",
    "simulator_settings",
]

Array = NDArray[np.float64]

_ASKED = (
    "quantity",
    "temperature",
    "energy_resolution",
)  # settings that a simulator shares
_FACTS = {  # with their units, in the order in which they are told
    "quantity": "",
    "units": "",
    "incident_energy": "meV",
    "temperature": "K",
    "energy_resolution": "meV",
}
_AXES = {"q": "1/Angstrom", "two_theta": "degree"}
_TOLD_DETAILS = ("title", "instrument", "run", "calibration")
_BEYOND = 0.02  # share of pixels with intensity where no neutron can arrive


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
    units : str, default=None
        Units of the intensities, such as "counts", "arbitrary", "barn/sr/meV" or
        "1/meV". They are kept beside the numbers, and nothing is converted by them.
    incident_energy : float, default=None
        Energy of the incoming neutrons in meV. None takes that of the grid.
    temperature : float or array-like of shape (n_spectra,), default=None
        Temperature of the sample in K.
    energy_resolution : float or callable, default=None
        Standard deviation of the resolution in meV, or a function from energy transfer
        in meV to it.
    source : str or path-like, default=None
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
        If intensities lie where no neutron of this incident energy can arrive, or are
        -1e30, by which SPE files and Mantid mark what was not measured.

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
    units: str | None = None
    incident_energy: float | None = None
    temperature: float | Array | None = None
    energy_resolution: float | Callable | None = None
    source: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if np.fmin.reduce(self.data, axis=None, initial=0.0) < MARK / 10:
            marked = int(is_marked(self.data).sum())
            warn_user(
                f"data must be NaN where nothing was measured, got {MARK:g}, the mark "
                f"of SPE files and Mantid, in {marked} pixels. Give numpy.where(data "
                f"> {MARK / 10:g}, data, numpy.nan).",
                MeasurementWarning,
            )
        _warn_beyond_the_limit(self)

    def _settle(self) -> None:
        data = rows_of(self.data, "data")
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
            error=None if self.error is None else errors_of(self.error, data),
            quantity=quantity_of(self.quantity),
            units=text_of(self.units, "units"),
            source=text_of(self.source, "source"),
            incident_energy=positive_number(incident, "incident_energy", "meV"),
            temperature=temperature_of(self.temperature, len(self)),
            energy_resolution=resolution,
            details=frozen(details_of(self.details)),
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

    @classmethod
    def from_arrays(
        cls,
        q: ArrayLike | None,
        energy: ArrayLike,
        intensity: ArrayLike,
        error: ArrayLike | None = None,
        *,
        two_theta: ArrayLike | None = None,
        incident_energy: float | None = None,
        temperature: float | Array | None = None,
        quantity: str | None = None,
        units: str | None = None,
        energy_resolution: float | Callable | None = None,
        source: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Self:
        r"""Make a measurement of axes and images, in whichever order.

        The shape of an image tells which axis is which, and whether an axis holds
        centres of bins or their borders. A square image has energies in rows, as
        everywhere in the package; with `incident_energy` a warning tells if intensities
        then lie where no neutron can arrive. Axes may be in falling or any order: they
        are sorted, and the images with them.

        Parameters
        ----------
        q : array-like of shape (n_q,), (n_q + 1,) or (n_q, 3)
            Momentum transfer in 1/Angstrom: centres of bins, or borders; or
            wavevectors, h, k and l in rows, in r.l.u. None with `two_theta`.
        energy : array-like of shape (n_energy,) or (n_energy + 1,)
            Energy transfer in meV, positive where the neutron loses energy: centres of
            bins, or borders.
        intensity : array-like of shape ([n_spectra,] n_energy, n_q) or transposed
            One image or more; NaN, infinite, masked or -1e30 (with a warning) where
            nothing was measured. The index and the columns of a pandas frame, if they
            are numbers other than 0, 1, ..., tell which axis is which, and each value
            is put where its labels say.
        error : array-like of the shape of `intensity`, default=None
            Standard deviations. Those of 0, for want of counts, become NaN.
        two_theta : array-like of shape (n_q,) or (n_q + 1,), default=None
            Scattering angles in degrees in the place of `q`.
        incident_energy : float, default=None
            Energy of the incoming neutrons in meV.
        temperature : float or array-like of shape (n_spectra,), default=None
            Temperature of the sample in K.
        quantity, units, energy_resolution, source, details : optional
            As for :class:`Measurement`.

        Returns
        -------
        Measurement
            On a :class:`SpectrumGrid`, an :class:`AngleGrid` of angles or a
            :class:`PathGrid` of wavevectors, the mask of which is what was measured.
            Borders of bins are kept in ``details["edges"]``. Energies that no neutron
            of `incident_energy` can lose are left out if nothing was measured there.

        Raises
        ------
        ValueError
            If shapes do not fit together, or fit in two ways (two axes of borders of
            which either order gives the image), a value of an axis is not finite or
            appears twice, the index or the columns of a frame are other values than
            those of the axes, or nothing was measured.

        Warns
        -----
        MeasurementWarning
            If intensities lie where no neutron of this incident energy can arrive, or
            some are -1e30, the mark of SPE files and Mantid.

        See Also
        --------
        skphonon.io.from_pandas, skphonon.io.from_scipp : The same for tables and scipp.

        Examples
        --------
        >>> from skphonon import Measurement
        >>> measured = Measurement.from_arrays(
        ...     q=[1.0, 2.0, 3.0], energy=[10.0, 20.0],
        ...     intensity=[[1, 4], [2, 5], [3, 6]], incident_energy=50.0,
        ... )
        >>> measured.grid.shape, measured.data
        ((2, 3), array([[1., 2., 3., 4., 5., 6.]]))
        """
        incident_energy = positive_number(incident_energy, "incident_energy", "meV")
        layout = laid_out(q, energy, intensity, error, incident_energy, two_theta)
        return cls(
            layout.data,
            layout.grid,
            error=layout.error,
            quantity=quantity,
            units=units,
            incident_energy=incident_energy,
            temperature=temperature,
            energy_resolution=energy_resolution,
            source=source,
            details={**layout.details, **details_of(details)},
        )

    def __repr__(self) -> str:
        shape = " x ".join(map(str, np.shape(self.data)))
        known = [
            f"{name}={getattr(self, name)!r}"
            for name in (*_ASKED, "incident_energy", "source")
        ]
        if self.units:
            known.append(f"units={self.units!r}")
        layout = "None" if self.grid is None else type(self.grid).__name__
        return (
            f"{type(self).__name__}(data of {shape}, grid={layout}, {', '.join(known)})"
        )

    def plot(self, axes: Any = None, **options: Any) -> "SpectrumMapDisplay":
        """Draw a map of each spectrum, side by side; scans of points as curves.

        Parameters
        ----------
        axes : matplotlib Axes or array of Axes, default=None
            One for each spectrum; None makes a figure.
        **options : dict
            As of :meth:`skphonon.inspection.SpectrumMapDisplay.plot`, such as
            ``log=True``.

        Returns
        -------
        SpectrumMapDisplay
            The display, which keeps `axes_` and `figure_`. Several measurements are
            drawn together by its `from_measurements`.
        """
        from skphonon.instrument.maps import SpectrumMapDisplay

        return SpectrumMapDisplay.from_measurements(self).plot(axes, **options)

    def describe(self) -> "Series":
        """Return what is known of the measurement, and what is not.

        Returns
        -------
        pandas.Series
            Texts by name: ranges of the axes, share of the pixels that were measured,
            and the conditions. What nobody told yet reads "not known".
        """
        import pandas as pd

        facts = {
            **self._layout(),
            "errors": "none" if self.error is None else told_errors(self),
            **{name: told(getattr(self, name), unit) for name, unit in _FACTS.items()},
            **self._final_energy(),
            **{
                name: told_detail(self.details[name])
                for name in _TOLD_DETAILS
                if self.details.get(name)
            },
            "source": self.source or "not known",
        }
        return pd.Series(facts, name=type(self).__name__)

    def _final_energy(self) -> dict[str, str]:
        """Fact of a scan at a fixed final energy."""
        final = self.details.get("final_energy")
        return {} if final is None else {"final_energy": told(final, "meV")}

    def _layout(self) -> dict[str, str]:
        """Facts of the pixels."""
        grid = self.grid
        measured = np.isfinite(self.data).sum() / max(np.size(self.data), 1)
        facts = {
            "spectra": str(len(self)),
            "pixels": f"{' x '.join(map(str, shape_of(grid)))} ({type(grid).__name__})",
            "measured": f"{measured:.0%} of the pixels",
            "energy": told_range(grid.energy, "meV"),
        }
        for name, unit in _AXES.items():
            axis = getattr(grid, name, None)
            if axis is not None and not isinstance(axis, tuple):  # no pair of limits
                facts[name] = told_range(axis, unit)
        return facts | told_crystal(grid)

    def _repr_html_(self) -> str:
        """Return a picture and a table of facts, as notebooks show them."""
        from skphonon.instrument.maps import html_of

        return html_of(self)

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

    def _on(self, grid: Any) -> Self:
        """Return it on a grid of the same pixels, without a second warning."""
        one = object.__new__(type(self))
        one._keep(**{**self.settings(), "grid": grid})
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
            "Rebin it first, with skphonon.io.reduce_powder or "
            "skphonon.io.reduce_crystal."
        )


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
