"""Pictures of the change of the decoded spectrum with each latent dimension."""

import numpy as np
import pandas as pd

from skphonon._figures import Display, many_axes
from skphonon.inspection._latent import latent_traversal

__all__ = ["LatentTraversalDisplay"]


class LatentTraversalDisplay(Display):
    """Images of the change of the decoded spectrum with each latent dimension.

    Parameters
    ----------
    data : DataFrame
        Decoded spectrum with one dimension moved minus decoded spectrum. Index levels
        `dimension` and `change`; column levels `energy` (meV) and `q` (1/Angstrom),
        a column for every pixel of `grid`, NaN where nothing was measured.
    grid : SpectrumGrid
        Axes of the images.

    See Also
    --------
    latent_traversal : The numbers alone.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from skphonon.inspection import LatentTraversalDisplay
    >>> from skphonon.instrument import SpectrumGrid
    >>> grid = SpectrumGrid([10.0, 20.0], [1.0, 2.0])
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> extractor = PCA(3).fit(X)
    >>> display = LatentTraversalDisplay.from_estimator(extractor, X, grid=grid)
    >>> display.data.shape  # two changes of each of three dimensions, four pixels
    (6, 4)
    """

    def __init__(self, *, data, grid):
        super().__init__(data=data)
        self.grid = grid

    @classmethod
    def from_estimator(cls, estimator, X, *, grid, changes=(-0.5, 0.5), relative=False):
        """Move the codes of spectra along each dimension.

        Parameters
        ----------
        estimator, X : fitted extractor or Pipeline, and array-like
            See :func:`latent_traversal`.
        grid : SpectrumGrid
            Grid of the spectra. Without a pipeline the features of the extractor must
            be all its pixels, or the visible ones.
        changes, relative : array-like and bool, default=False
            See :func:`latent_traversal`.

        Returns
        -------
        LatentTraversalDisplay
            Display with one image for each dimension and change.

        Raises
        ------
        TypeError
            If there is no extractor.
        ValueError
            If the spectra do not fit the grid.
        """
        moved = latent_traversal(estimator, X, changes=changes, relative=relative)
        columns = pd.MultiIndex.from_product(grid.axes(), names=["energy", "q"])
        rows = _full_rows(moved.to_numpy(), grid)
        return cls(data=pd.DataFrame(rows, moved.index, columns), grid=grid)

    def plot(
        self, axes=None, *, dimensions=None, change=None, n_columns=6, image_kw=None
    ):
        """Draw an image a dimension, on one colour scale.

        Parameters
        ----------
        axes : array-like of matplotlib Axes, default=None
            Axes to draw on, one a dimension; None makes a figure.
        dimensions : array-like of int, default=None
            Which dimensions, in this order. None means all.
        change : float, default=None
            Which of the changes; None is the largest.
        n_columns : int, default=6
            Images side by side in a new figure.
        image_kw : dict, default=None
            Options for `Axes.pcolormesh`.

        Returns
        -------
        LatentTraversalDisplay
            This display, which keeps `axes_` and `figure_`.

        Raises
        ------
        ValueError
            If the codes were not moved by `change`, or the number of axes is wrong.
        """
        changes = self.data.index.unique("change")
        change = changes.max() if change is None else change
        if change not in changes:
            raise ValueError(f"change must be one of {[*changes]}, got {change}.")
        rows = self.data.xs(change, level="change")
        rows = rows if dimensions is None else rows.loc[list(dimensions)]
        self.figure_, self.axes_ = many_axes(
            axes, len(rows), n_columns=n_columns, size=(1.9, 1.7), share=True
        )
        limit = np.nanmax(np.abs(rows.to_numpy()))
        style = {"vmin": -limit, "vmax": limit, "cmap": "RdBu_r", **(image_kw or {})}
        energy, q = self.grid.axes()
        for ax, dimension in zip(self.axes_, rows.index, strict=True):
            image = self.grid.to_image(rows.loc[dimension].to_numpy())
            drawn = ax.pcolormesh(q, energy, image, **style)
            ax.set_title(f"dimension {dimension}", fontsize="small")
        self.figure_.colorbar(
            drawn, ax=self.axes_, label=f"change of spectrum for {change:+g}"
        )
        for ax in self.axes_:
            ax.set(xlabel=r"$|Q|$ (1/Å)", ylabel="energy (meV)")
            ax.label_outer()
        return self


def _full_rows(rows, grid):
    """Return rows with a column for every pixel, of rows that may lack hidden ones."""
    if rows.shape[1] == grid.n_pixels:
        return rows
    visible = grid.mask.ravel()
    if rows.shape[1] != visible.sum():
        raise ValueError(
            f"Decoded spectra must have a value for each of the {grid.n_pixels} pixels "
            f"of the grid, or of its {visible.sum()} visible ones; got "
            f"{rows.shape[1]}. Pass the pipeline with the preprocessor in it."
        )
    full = np.full((len(rows), grid.n_pixels), np.nan)
    full[:, visible] = rows
    return full
