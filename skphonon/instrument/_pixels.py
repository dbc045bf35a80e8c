"""What all grids share: axes, image and row, and which pixels were measured."""

from functools import cached_property
from typing import Any, ClassVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon._html import drawn, facts_html
from skphonon._validation import increasing_axis
from skphonon._versioned import Immutable, immutable, read_only
from skphonon.instrument._conditions import told, told_range

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_MOST = 1_000_000  # pixels of which there is a picture
_LEAST = 3  # rows or columns of which there is a picture
_SCALES = {  # of columns: unit and label
    "q": ("1/Angstrom", "|Q| (1/Å)"),
    "two_theta": ("degree", "scattering angle (degree)"),
}

#: Advice on images that have their axes exchanged.
TRANSPOSED = (
    "The images look transposed: rows are energies, columns are |Q|. Turn them with "
    "images.swapaxes(-1, -2) before grid.to_rows."
)


class Visible:
    """Field that holds the mask given and reads as the pixels that are visible."""

    @overload
    def __get__(self, grid: None, owner: Any) -> None: ...
    @overload
    def __get__(self, grid: "PixelGrid", owner: Any) -> Mask: ...
    def __get__(self, grid: "PixelGrid | None", owner: Any = None) -> Mask | None:
        # None is the default of the field; torch warns of arrays that are read-only
        return None if grid is None else grid._visible.copy()

    def __set__(self, grid: "PixelGrid", mask: ArrayLike | None) -> None:
        grid.__dict__["mask"] = mask


@immutable
class PixelGrid(Immutable):
    """Images, rows and the mask of a grid.

    Subclasses have a field `mask` that is `Visible`; `_columns` returns the axis of
    columns, and `_window` what is visible where no mask is given.
    """

    energy: Array

    def _settle(self) -> None:
        self._settle_axes()
        given = vars(self)["mask"]
        if given is None:
            return
        mask = read_only(_mask(given), bool)
        if mask.shape != self.shape:
            raise ValueError(
                f"mask must have the shape of the grid, {self.shape}, got {mask.shape}."
            )
        if not mask.any():
            raise ValueError(
                "The grid must hold at least one visible pixel, got a mask that leaves "
                "none. It is True where a pixel was measured."
            )
        self._keep(mask=mask)

    def _settle_axes(self) -> None:
        """Check and keep all fields but the mask."""
        raise NotImplementedError

    def _columns(self) -> NDArray:
        """Axis of the columns."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        name = self._scale()
        facts = {
            "energy": told_range(self.energy, "meV"),
            **({name: told_range(self.axes()[1], _SCALES[name][0])} if name else {}),
            "pixels": f"{self.shape[0]} x {self.shape[1]}",
            "visible": f"{self._visible.mean():.0%}",
        }
        incident = getattr(self, "incident_energy", None)
        if incident is not None:
            facts["incident energy"] = told(incident, "meV")
        return facts_html(type(self).__name__, facts, self._thumbnail())

    def _scale(self) -> str:
        """Name of the axis of columns, empty where these are wavevectors."""
        if not hasattr(self, "_limits"):
            return ""
        return next(name for name in _SCALES if hasattr(self, name))

    def _thumbnail(self) -> str:
        """Picture of what is visible, where both axes are scales."""
        name = self._scale()
        if min(self.shape) < _LEAST or np.prod(self.shape) > _MOST or not name:
            return ""

        def draw(figure: Any) -> None:
            ax = figure.subplots()
            energy, columns = (bin_edges(axis) for axis in self.axes())
            ax.pcolormesh(columns, energy, self._visible, cmap="Greys_r", vmin=-0.5)
            ax.set(ylabel="energy transfer (meV)", xlabel=_SCALES[name][1])
            ax.set_title("visible")

        return drawn(draw, "visible pixels")

    def _window(self) -> Mask:
        return np.ones(self.shape, dtype=bool)

    @cached_property
    def _visible(self) -> Mask:
        given = vars(self)["mask"]
        if given is not None:
            return given
        mask = read_only(self._window(), bool)
        if not mask.any():
            raise ValueError(
                "The grid must hold at least one visible pixel, got none. Check the "
                "axes against what the instrument sees."
            )
        return mask

    def axes(self) -> tuple[Array, NDArray]:
        """Return both axes of an image.

        Returns
        -------
        energy : ndarray of shape (n_energy,)
            Energy transfer in meV.
        columns : ndarray of shape (n_columns,)
            Momentum transfer in 1/Angstrom, scattering angle in degrees or, as a list
            of wavevectors has no scale, their number from 0.
        """
        return self._axes

    @cached_property
    def _axes(self) -> tuple[Array, NDArray]:
        return self.energy, read_only(self._columns(), None)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Number of energies and of columns."""
        energy, columns = self.axes()
        return len(energy), len(columns)

    @cached_property
    def n_pixels(self) -> int:
        """Number of pixels of a spectrum, visible or not."""
        n_energy, n_columns = self.shape
        return n_energy * n_columns

    def to_image(self, X: ArrayLike) -> Array:
        """Turn rows into images.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels) or (n_pixels,)
            Spectra, one a row.

        Returns
        -------
        ndarray of shape (n_samples, n_energy, n_q) or (n_energy, n_q)
            The same numbers; a single row gives a single image.

        Raises
        ------
        ValueError
            If the number of columns is not the number of pixels of this grid.
        """
        X = np.asarray(X)
        if X.ndim not in (1, 2) or X.shape[-1] != self.n_pixels:
            raise ValueError(
                f"X must have {self.n_pixels} columns for a grid of {self.shape} "
                f"pixels, got shape {X.shape}. Was it measured on another grid?"
            )
        return X.reshape(*X.shape[:-1], *self.shape)

    def to_rows(self, images: ArrayLike) -> Array:
        """Turn images into rows, NaN outside the visible window.

        Parameters
        ----------
        images : array-like of shape (n_samples, n_energy, n_q) or (n_energy, n_q)
            One or more images.

        Returns
        -------
        ndarray of shape (n_samples, n_pixels)
            A new array; a single image gives one row.

        Raises
        ------
        ValueError
            If the images do not have the shape of this grid.
        """
        images = np.asarray(images, dtype=float)
        if images.ndim not in (2, 3) or images.shape[-2:] != self.shape:
            raise ValueError(
                f"images must have shape (n_samples, {self.shape[0]}, {self.shape[1]})"
                f", got {images.shape}. "
                + (
                    TRANSPOSED
                    if images.shape[-2:] == self.shape[::-1]
                    else "Rows are energies, columns are q."
                )
            )
        return np.where(self._visible, images, np.nan).reshape(-1, self.n_pixels)


@immutable
class PowderGrid(PixelGrid):
    """Base of grids whose columns are bins of a scale."""

    _limits: ClassVar[tuple[float, float]]  # of the scale

    def edges(self) -> tuple[Array, Array]:
        """Return the borders of the bins, halfway between their centres.

        Returns
        -------
        energy : ndarray of shape (n_energy + 1,)
            Borders in meV.
        columns : ndarray of shape (n_columns + 1,)
            Borders of the columns in their unit, none beyond what it can be: a
            momentum transfer is not negative, an angle within 0 to 180 degrees.
        """
        energy, columns = (bin_edges(axis) for axis in self.axes())
        return energy, np.clip(columns, *self._limits)


@immutable
class WavevectorGrid(PixelGrid):
    """Base of grids whose columns are wavevectors."""

    def edges(self) -> Array:
        """Return the borders of the energy bins, halfway between their centres.

        Returns
        -------
        ndarray of shape (n_energy + 1,)
            Borders in meV.
        """
        return bin_edges(self.axes()[0])


def _mask(given: Any) -> Any:
    """Return a mask that is False where it is masked itself, and has no NaN."""
    if isinstance(given, np.ma.MaskedArray):
        return np.ma.filled(given.astype(bool), False)
    array = np.asarray(given)
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(
            f"mask must be True or False at each pixel, got {np.isnan(array).sum()} "
            "NaN. Pass False where nothing was measured."
        )
    return given


def energy_axis(values: ArrayLike) -> Array:
    return read_only(increasing_axis(values, "energy"))


def bin_edges(centres: Array) -> Array:
    if centres.size == 1:
        raise ValueError(
            "An axis needs at least two bin centres to tell the width of a bin, got "
            f"one ({centres[0]:g})."
        )
    middles = (centres[1:] + centres[:-1]) / 2
    return np.concatenate(
        [[2 * centres[0] - middles[0]], middles, [2 * centres[-1] - middles[-1]]]
    )


def independent_vectors(name: str, vectors: ArrayLike) -> Array:
    matrix = np.asarray(vectors, dtype=float)
    if (
        matrix.shape != (3, 3)
        or not np.isfinite(matrix).all()
        or abs(np.linalg.det(matrix)) <= 1e-9 * np.linalg.norm(matrix, axis=1).prod()
    ):
        raise ValueError(
            f"{name} must hold three independent vectors in rows, shape (3, 3); got "
            f"{vectors!r}."
        )
    return matrix
