r"""Pictures of measurements: intensity over energy transfer and momentum transfer.

A map of a powder has \|Q\| or the scattering angle along x; of a path, the numbers of
its wavevectors; of a single crystal, the longest of its axes, averaged over the others;
of detectors, the scattering angle, averaged over detectors at about the same one. Scans
of points, and cuts with a single bin of energy or of Q, are curves and no maps.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from skphonon._figures import Display, many_axes
from skphonon._html import drawn, facts_html
from skphonon.instrument._map_cuts import cuts_of, draw_cut, mark_cut
from skphonon.instrument._pixels import bin_edges
from skphonon.instrument._scan_curves import (
    Curve,
    Scans,
    draw_scans,
    scans_of,
    wrapped,
)
from skphonon.physics.scattering import momentum_transfer

if TYPE_CHECKING:
    from skphonon.instrument.measurement import Measurement

__all__ = ["Map", "SpectrumMapDisplay", "html_of", "map_of"]

Array = NDArray[np.float64]

_BRIGHT = 99.0  # per cent of the pixels that the colours of a linear map resolve
_DECADES = 3.0  # of a logarithmic one
_NOT_MEASURED = "0.85"  # grey
_ANGLES = 200  # columns of a map of detectors, at most
_SHOWN = 4  # spectra in a notebook
_SIZE = 4.2, 3.4  # inch a panel


class Map(NamedTuple):
    """An image with the borders of its pixels."""

    image: Array  # (n_energy, n_columns), NaN where nothing was measured
    energy: Array  # (n_energy + 1,), meV
    columns: Array  # (n_columns + 1,)
    label: str  # of the columns, with the unit
    title: str
    limits: tuple[tuple[Array, Array], ...] = ()  # lines (columns, energy)
    rows: str = "energy transfer (meV)"  # label of the other axis
    units: str = ""  # of the intensities
    signed: bool = False  # a difference, with colours of its own about zero


class SpectrumMapDisplay(Display):
    r"""Maps of measured or simulated spectra, side by side.

    Pixels that were not measured are grey. Where the incident energy is known, dashed
    lines show the kinematic limit: no neutron arrives beyond it.

    Scans of a triple-axis spectrometer, up to ten of one kind, are drawn as points with
    error bars, each in a colour of its own: at constant Q over the energy transfer,
    else over the index h, k or l that changes or, if several do, over the distance from
    the first point in r.l.u.

    Parameters
    ----------
    data : list of Map or Scans
        Image, borders of the bins of energy and columns, label and title of each map;
        or, of scans and of cuts at one energy or one place, curves (x, intensity, error
        and name), labels and title.

    See Also
    --------
    skphonon.Measurement.plot : The same for one measurement.

    Examples
    --------
    >>> from skphonon import Measurement, SpectrumGrid
    >>> from skphonon.inspection import SpectrumMapDisplay
    >>> grid = SpectrumGrid([10.0, 20.0], [1.0, 2.0, 3.0], incident_energy=50.0)
    >>> measured = Measurement([1, 2, 3, 4, 5, 6], grid, temperature=300.0)
    >>> display = SpectrumMapDisplay.from_measurements([measured, measured])
    >>> [each.title for each in display.data]
    ['300 K', '300 K']
    """

    @classmethod
    def from_measurements(
        cls,
        measurements: "Measurement | Iterable[Measurement]",
        titles: Sequence[str] | None = None,
        *,
        differences: Sequence[int] = (),
        energy: float | None = None,
    ) -> Self:
        """Make a map, or curves of scans, of each spectrum of measurements.

        Parameters
        ----------
        measurements : Measurement or iterable of Measurement
            To be drawn side by side. For a simulated spectrum take
            ``measured.replace(data=simulator.simulate(parameters))``.
        titles : sequence of str, default=None
            One for each spectrum. None: temperature or source, as far as known.
        differences : sequence of int, default=()
            Numbers of spectra that are differences, such as what a fit leaves: their
            maps have colours of their own, about zero.
        energy : float, default=None
            Energy transfer in meV at which volumes of single crystals are drawn, as
            planes of their two longest axes. None draws energies over the longest axis.

        Returns
        -------
        SpectrumMapDisplay

        Raises
        ------
        ValueError
            If there are more or fewer titles than spectra, no spectra, or no volume at
            `energy`.
        """
        rows = [one for each in _listed(measurements) for one in each]
        if not rows or not any(np.size(each.data) for each in rows):
            raise ValueError("measurements must hold a spectrum, got none.")
        if titles is not None and len(titles) != len(rows):
            raise ValueError(
                f"titles must be one for each of {len(rows)} spectra, got "
                f"{len(titles)}."
            )
        maps = [
            map_of(one) if energy is None else _plane_at(one, energy) for one in rows
        ]
        if titles is not None:
            maps = [
                each._replace(title=title)
                for each, title in zip(maps, titles, strict=True)
            ]
        for number in differences:
            drawn = maps[number]
            if isinstance(drawn, Map):
                maps[number] = drawn._replace(signed=True)
        return cls(data=maps)

    def plot(
        self,
        axes: Any = None,
        *,
        log: bool = False,
        vmin: float | None = None,
        vmax: float | None = None,
        limits: bool = True,
        cuts: dict[str, Any] | None = None,
        mesh_kw: dict[str, Any] | None = None,
    ) -> Self:
        r"""Draw the maps with one scale of colours, differences with another.

        Parameters
        ----------
        axes : matplotlib Axes or array of Axes, default=None
            One for each map, and one for each cut after them; None makes a figure.
        log : bool, default=False
            Whether colours, or intensities of scans, are logarithmic. Intensities below
            `vmin`, and those that are not positive, have the colour of `vmin`.
        vmin, vmax : float, default=None
            Ends of the colours, or of the intensities of scans. None shows all points
            of scans, and takes for maps 0 (a thousandth of `vmax` if `log`; the first
            percentile where more than that is negative) and the intensity which 99 % of
            the pixels do not exceed.
        limits : bool, default=True
            Whether to draw the kinematic limit.
        cuts : dict, default=None
            Ranges (low, high), or lists of them, over which intensities are averaged:
            under ``"energy"`` in meV, under ``"q"`` of the x axis of the maps, \|Q\| or
            whatever it is. Each has a panel with points for the first map and lines for
            the others, differences left out; dotted lines show its ends on the maps.
        mesh_kw : dict, default=None
            Options for `Axes.pcolormesh`, which draws maps.

        Returns
        -------
        SpectrumMapDisplay
            This display, which keeps `axes_` and `figure_`.

        Raises
        ------
        ValueError
            If `axes` are too many or too few, a logarithm has nothing positive to
            show, or `cuts` have no pixels or are asked of scans.
        TypeError
            If `axes` are none.
        """
        shown = [
            np.concatenate([curve.intensity for curve in each.curves])
            if isinstance(each, Scans)
            else each.image
            for each in self.data
            if not getattr(each, "signed", False)
        ]
        norm, drawn = _norm(shown, log, vmin, vmax) if shown else None, []
        ranges, cut_maps = cuts_of(cuts), _cut_maps(self.data, cuts)
        about_zero = _norm_about_zero(self.data)
        for each in () if axes is None else np.ravel(np.asarray(axes, dtype=object)):
            if not hasattr(each, "pcolormesh"):
                raise TypeError(
                    "axes must be Axes of matplotlib, one for each spectrum, got "
                    f"{type(each).__name__}."
                )
        self.figure_, self.axes_ = many_axes(
            axes, len(self.data) + len(ranges), n_columns=3, size=_SIZE
        )
        on_maps = self.axes_[: len(self.data)]
        for ax, each in zip(on_maps, self.data, strict=True):
            if isinstance(each, Scans):
                draw_scans(ax, each, log=log, low=vmin, high=vmax)
            elif each.signed:
                options = {"cmap": "RdBu_r", **(mesh_kw or {})}
                mesh = _draw(ax, each, about_zero, limits=limits, mesh_kw=options)
                self.figure_.colorbar(mesh, ax=ax)
            else:
                drawn.append(
                    _draw(ax, each, norm, limits=limits, mesh_kw=mesh_kw or {})
                )
        if drawn:
            units = {each.units for each in self.data if isinstance(each, Map)}
            (common,) = units if len(units) == 1 else ("",)
            label = f"intensity ({common})" if common else "intensity"
            beside = [
                ax
                for ax, each in zip(on_maps, self.data, strict=True)
                if not getattr(each, "signed", False)
            ]
            self.figure_.colorbar(drawn[-1], ax=beside, label=wrapped(label))
        for ax, cut in zip(self.axes_[len(self.data) :], ranges, strict=True):
            draw_cut(ax, cut_maps, cut)
            for each in on_maps:
                mark_cut(each, cut)
        return self


def html_of(measurement: "Measurement") -> str:
    """Return a picture of the first spectra beside a table of facts."""
    shown = min(len(measurement), _SHOWN)
    title, facts = type(measurement).__name__, measurement.describe()
    if not shown or not np.size(measurement.data):
        return facts_html(title, facts)

    def draw(figure: Any) -> None:
        axes = figure.subplots(1, shown, squeeze=False)
        maps = [map_of(measurement[row]) for row in range(shown)]
        SpectrumMapDisplay(data=maps).plot(axes)

    more = len(measurement) - shown
    note = f"<p>{more} more spectra are not shown.</p>" if more else ""
    picture = drawn(draw, "intensity by energy transfer", (_SIZE[0] * shown, _SIZE[1]))
    return facts_html(title, facts, note + picture)


def map_of(measurement: "Measurement") -> Map | Scans:
    """Return the map, or the scans, of a measurement of one spectrum."""
    found = _map_of(measurement)
    if isinstance(found, Scans):
        return found
    if min(found.image.shape) == 1 < max(found.image.shape):
        return _curve(found, measurement)
    return found._replace(units=measurement.units or "")


def _curve(drawn: Map, measurement: "Measurement") -> Scans:
    """Return the curve of an image of one row or one column, with its errors."""
    at_energy = drawn.image.shape[0] == 1
    edges = (drawn.energy, drawn.columns)[at_energy]
    held = (drawn.columns, drawn.energy)[at_energy]
    over = f"{drawn.label}, {held[0]:.4g} to {held[-1]:.4g}"
    curve = Curve(
        (edges[1:] + edges[:-1]) / 2,
        drawn.image.ravel(),
        _errors(measurement, drawn.image.shape).ravel(),
        f"{held[0]:.4g} to {held[-1]:.4g} meV" if at_energy else over,
    )
    units = f" ({measurement.units})" if measurement.units else ""
    label = drawn.label if at_energy else drawn.rows
    return Scans((curve,), label, f"intensity{units}", drawn.title)


def _errors(measurement: "Measurement", shape: tuple[int, ...]) -> Array:
    """Return errors of the pixels of an image."""
    grid, error = measurement.grid, measurement.error
    if error is None or grid is None:  # detectors, of which an image is a mean
        return np.full(shape, np.nan)
    return grid.to_image(error)[0].reshape(shape)


def _map_of(measurement: "Measurement") -> Map | Scans:
    if measurement.grid is None:
        return _detector_map(measurement)
    grid = measurement.grid
    known = dict(measurement.details.get("edges") or {})
    title, energy = _title(measurement), _borders(grid.energy, known.get("energy"))
    if hasattr(grid, "volume_shape"):
        if len(grid.energy) == 1 and sum(n > 1 for n in grid.volume_shape) > 1:
            volume = grid.to_volumes(measurement.data)[0, 0]
            return _plane(grid, volume, energy, title, known)
        image, columns, label = _volume(grid, measurement.data, known)
        return Map(image, energy, columns, label, title)
    image = grid.to_image(measurement.data)[0]
    name = next((name for name in ("q", "two_theta") if hasattr(grid, name)), "")
    columns = _borders(grid.axes()[1], known.get(name))
    if hasattr(grid, "q"):
        limits = _limits(energy, measurement.incident_energy, grid.two_theta)
        return Map(image, energy, columns, r"$|Q|$ (1/Å)", title, limits)
    if hasattr(grid, "two_theta"):
        return Map(image, energy, columns, "scattering angle (degree)", title)
    scans = scans_of(measurement, title)
    return scans or Map(image, energy, columns, "number of the wavevector", title)


def _draw(ax: Any, drawn: Map, norm: Any, *, limits: bool, mesh_kw: dict) -> Any:
    image = np.where(drawn.image < norm.vmin, norm.vmin, drawn.image)  # keeps NaN
    mesh = ax.pcolormesh(
        drawn.columns,
        drawn.energy,
        image,
        **{"norm": norm, "rasterized": True, **mesh_kw},
    )
    ax.set_facecolor(_NOT_MEASURED)
    if limits:
        for columns, energy in drawn.limits:
            ax.plot(columns, energy, color="k", linewidth=0.8, linestyle="--")
    ax.set(
        xlim=drawn.columns[[0, -1]],
        ylim=drawn.energy[[0, -1]],
        xlabel=wrapped(drawn.label),
        ylabel=drawn.rows,
        title=wrapped(drawn.title, title=True),
    )
    return mesh


def _norm(
    images: list[Array], log: bool, vmin: float | None, vmax: float | None
) -> Any:
    """Return what turns intensities into colours, the same for all maps."""
    from matplotlib.colors import LogNorm, Normalize

    values = np.concatenate([image[np.isfinite(image)] for image in images])
    if log:
        values = values[values > 0]
        if not values.size:
            raise ValueError(
                "A logarithmic map must have positive intensities, got none. Pass "
                "log=False."
            )
    top = vmax
    if top is None:
        top = float(np.percentile(values, _BRIGHT)) if values.size else 1.0
    if log:
        return LogNorm(top / 10**_DECADES if vmin is None else vmin, top)
    if vmin is None:
        low = float(np.percentile(values, 100 - _BRIGHT)) if values.size else 0.0
        vmin = min(low, 0.0)
    return Normalize(vmin, top if top > vmin else vmin + 1.0)


def _cut_maps(drawn: Sequence[Map | Scans], cuts: Any) -> list[Map]:
    """Return the maps of which cuts are drawn."""
    maps = [each for each in drawn if isinstance(each, Map)]
    if cuts and len(maps) < len(drawn):
        raise ValueError("cuts must be of maps, got scans of points, which are curves.")
    some = [each for each in maps if not each.signed]
    if cuts and not some:
        raise ValueError("cuts must be of intensities, got differences alone.")
    return some


def _norm_about_zero(maps: Sequence[Map | Scans]) -> Any:
    """Return what turns differences into colours, the same for all of them."""
    from matplotlib.colors import Normalize

    images = [each.image for each in maps if isinstance(each, Map) and each.signed]
    values = np.concatenate([np.zeros(0), *(np.abs(x[np.isfinite(x)]) for x in images)])
    top = float(np.percentile(values, _BRIGHT)) if values.size else 0.0
    return Normalize(-(top or 1.0), top or 1.0)


def _listed(measurements: Any) -> "Iterable[Measurement]":
    return [measurements] if hasattr(measurements, "data") else measurements


def _title(measurement: "Measurement") -> str:
    temperature = measurement.temperature
    if temperature is not None:
        return f"{float(np.ravel(temperature)[0]):.4g} K"
    return str(measurement.source or "").replace("\\", "/").rpartition("/")[2]


def _borders(centres: Array, known: Array | None = None) -> Array:
    if known is not None and len(known) == len(centres) + 1:
        edges = np.asarray(known, dtype=float)
        # not those of an axis that the grid no longer has
        if ((edges[:-1] < centres) & (centres < edges[1:])).all():
            return edges
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    return bin_edges(np.asarray(centres, dtype=float))


def _limits(
    energy: Array, incident_energy: float | None, two_theta: tuple[float, float]
) -> tuple[tuple[Array, Array], ...]:
    """Return the lines of the smallest and the largest scattering angle."""
    if incident_energy is None:
        return ()
    reached = np.linspace(energy[0], min(energy[-1], incident_energy), 200)
    return tuple(
        (np.asarray(momentum_transfer(reached, incident_energy, angle)), reached)
        for angle in two_theta
    )


def _volume(
    grid: Any, data: Array, known: dict[str, Array]
) -> tuple[Array, Array, str]:
    """Return a mean over all wavevectors but along the longest axis."""
    volume = grid.to_volumes(data)[0]
    axes = [np.atleast_1d(axis) for axis in (grid.h, grid.k, grid.l)]
    along = int(np.argmax([len(axis) for axis in axes]))
    others = tuple(n + 1 for n in range(3) if n != along)
    held = []
    for n, name in enumerate("hkl"):
        ends = _borders(axes[n], known.get(name)) if name in known else axes[n]
        more = f" to {ends[-1]:.3g}" if len(ends) > 1 else ""
        if n != along:
            plain = np.array_equal(grid.directions()[n], np.eye(3)[n])
            axis = name if plain else _direction(grid, n)
            held.append(f"{axis} {ends[0]:.3g}{more}")
    label = f"along {_direction(grid, along)} (r.l.u.), mean over {', '.join(held)}"
    columns = _borders(axes[along], known.get("hkl"[along]))
    return _mean(volume, others), columns, label


def _plane_at(measurement: "Measurement", energy: float) -> Map:
    """Return the plane of a volume in the bin of energies that holds the given one."""
    grid = measurement.grid
    if grid is None or sum(n > 1 for n in getattr(grid, "volume_shape", ())) < 2:
        layout = type(measurement if grid is None else grid).__name__
        raise ValueError(
            f"A plane at energy={energy:g} meV must be of a volume, got {layout}."
        )
    known = dict(measurement.details.get("edges") or {})
    edges = _borders(grid.energy, known.get("energy"))
    row = int(np.searchsorted(edges, energy, "right")) - 1
    if not 0 <= row < len(grid.energy):
        raise ValueError(
            f"energy must be from {edges[0]:g} to {edges[-1]:g} meV, got {energy:g}."
        )
    volume = grid.to_volumes(measurement.data)[0, row]
    drawn = _plane(grid, volume, edges[row : row + 2], _title(measurement), known)
    return drawn._replace(units=measurement.units or "")


def _plane(
    grid: Any, volume: Array, energy: Array, title: str, known: dict[str, Array]
) -> Map:
    """Return the map of the two longest axes of one energy, a mean over the third."""
    axes = [np.atleast_1d(axis) for axis in (grid.h, grid.k, grid.l)]
    down, across = sorted(np.argsort([-len(axis) for axis in axes], kind="stable")[:2])
    (third,) = {0, 1, 2} - {int(down), int(across)}
    labels = [f"along {_direction(grid, n)} (r.l.u.)" for n in (down, across)]
    more = f"{energy[0]:.4g} to {energy[-1]:.4g} meV"
    return Map(
        _mean(volume, third),
        _borders(axes[down], known.get("hkl"[down])),
        _borders(axes[across], known.get("hkl"[across])),
        labels[1],
        f"{title}, {more}" if title else more,
        rows=labels[0],
    )


def _mean(values: Array, axis: int | tuple[int, ...]) -> Array:
    """Return the mean of what was measured, NaN where nothing was."""
    seen = np.isfinite(values)
    return _ratio(np.where(seen, values, 0.0).sum(axis=axis), seen.sum(axis=axis))


def _ratio(total: Array, count: NDArray) -> Array:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _direction(grid: Any, number: int) -> str:
    directions = np.eye(3) if grid.projection is None else np.asarray(grid.projection)
    return f"[{','.join(f'{value:.3g}' for value in directions[number])}]"


def _detector_map(measurement: Any) -> Map:
    """Return the mean over detectors at about the same scattering angle."""
    polar, data = np.abs(measurement.polar), measurement.data
    placed = np.isfinite(polar)
    low, high = (polar[placed].min(), polar[placed].max()) if placed.any() else (0, 1)
    n_columns = int(min(_ANGLES, max(len(np.unique(polar[placed].round(1))), 1)))
    columns = np.linspace(low, high if high > low else low + 1.0, n_columns + 1)
    place = np.clip(np.searchsorted(columns, polar, "right") - 1, 0, n_columns - 1)
    total, count = np.zeros((2, n_columns, data.shape[1]))
    seen = np.isfinite(data) & placed[:, None]
    np.add.at(total, place, np.where(seen, data, 0.0))
    np.add.at(count, place, seen)
    image = _ratio(total, count).T
    edges = np.asarray(measurement.energy_edges)
    label = "scattering angle (degree), mean over detectors"
    return Map(image, edges, columns, label, _title(measurement))
