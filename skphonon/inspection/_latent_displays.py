"""Pictures of a latent space: codes, sensitivity, correlation."""

import numpy as np
import pandas as pd

from skphonon._figures import Display, one_axes
from skphonon.inspection._latent import (
    latent_correlation,
    latent_sensitivity,
    mean_codes,
    open_latent_space,
)

__all__ = [
    "LatentCodesDisplay",
    "LatentCorrelationDisplay",
    "LatentSensitivityDisplay",
]

_SIMULATED, _MEASURED = "simulated", "measured"


class LatentCodesDisplay(Display):
    """Codes of measured spectra on the range of those of simulated ones.

    For a measured code outside the range of the simulations the regressor extrapolates:
    the picture shows in which dimensions, and how far.

    Parameters
    ----------
    data : DataFrame
        One row for each spectrum and dimension, with the columns `set` ("simulated" or
        "measured"), `sample`, `dimension`, `mean` and `std`, the standard deviation of
        the code (NaN where the extractor has none).

    See Also
    --------
    latent_correlation : Correlation of the dimensions.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from skphonon.inspection import LatentCodesDisplay
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> display = LatentCodesDisplay.from_estimator(PCA(2).fit(X), X[:40], X[40:])
    >>> display.data.groupby("set")["mean"].count().to_dict()
    {'measured': 20, 'simulated': 80}
    """

    @classmethod
    def from_estimator(cls, estimator, X, X_measured):
        """Encode simulated and measured spectra.

        Parameters
        ----------
        estimator : extractor or Pipeline
            Fitted extractor, or a pipeline that holds one.
        X : array-like of shape (n_samples, n_features)
            Simulated spectra, not those of the training set: raw ones for a pipeline,
            preprocessed ones for an extractor.
        X_measured : array-like of shape (n_measured, n_features)
            Measured spectra, likewise.

        Returns
        -------
        LatentCodesDisplay
            Display with the codes of both.

        Raises
        ------
        TypeError
            If there is no extractor.
        """
        spectra = {_SIMULATED: X, _MEASURED: X_measured}
        return cls(
            data=pd.concat(
                [_code_table(estimator, X, name) for name, X in spectra.items()],
                ignore_index=True,
            )
        )

    def plot(
        self, ax=None, *, dimensions=None, labels=None, box_kw=None, errorbar_kw=None
    ):
        """Draw a box a dimension for simulated codes, and measured codes one by one.

        Boxes hold half of the simulated spectra, whiskers 95 % of them. Error bars are
        standard deviations of single codes.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        dimensions : array-like of int, default=None
            Which dimensions, in this order, such as ``active_dimensions(...).order``.
            None means all.
        labels : sequence of str, default=None
            Name of each measured spectrum in the legend, such as its temperature.
        box_kw : dict, default=None
            Options for `Axes.boxplot`.
        errorbar_kw : dict, default=None
            Options for `Axes.errorbar`.

        Returns
        -------
        LatentCodesDisplay
            This display, which keeps `ax_` and `figure_`.
        """
        import matplotlib as mpl

        self.figure_, self.ax_ = one_axes(ax, figsize=(10, 4))
        means = self._table("mean", _SIMULATED)
        shown = list(means if dimensions is None else dimensions)
        place = np.arange(len(shown))
        box = {"whis": (2.5, 97.5), "showfliers": False, "widths": 0.8}
        drawn = self.ax_.boxplot(
            means[shown].to_numpy(), positions=place, **{**box, **(box_kw or {})}
        )
        drawn["medians"][0].set_label(_SIMULATED)
        measured = self._table("mean", _MEASURED)[shown]
        std = self._table("std", _MEASURED)[shown]
        offsets = np.linspace(-0.3, 0.3, len(measured)) if len(measured) > 1 else [0.0]
        colours = mpl.colormaps["plasma"](np.linspace(0, 0.85, len(measured)))
        style = {"fmt": "o", "markersize": 3, "linewidth": 1}
        for i, (offset, colour) in enumerate(zip(offsets, colours, strict=True)):
            self.ax_.errorbar(
                place + offset,
                measured.iloc[i],
                std.iloc[i],
                label=f"measured {i}" if labels is None else labels[i],
                **{**style, "color": colour, **(errorbar_kw or {})},
            )
        self.ax_.set_xticks(place, shown)
        self.ax_.set(xlabel="latent dimension", ylabel="code")
        self.ax_.legend(fontsize="small")
        return self

    def _table(self, column, name):
        """Return one column as a table of spectra and dimensions."""
        rows = self.data[self.data["set"] == name]
        return rows.pivot(index="sample", columns="dimension", values=column)


class LatentSensitivityDisplay(Display):
    """Change of the decoded spectrum with each latent dimension.

    Parameters
    ----------
    data : DataFrame
        Column `sensitivity`, index `dimension`.

    See Also
    --------
    latent_sensitivity : The numbers alone.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from skphonon.inspection import LatentSensitivityDisplay
    >>> X = np.array([[3.0, 1.0], [-3.0, 1.0]])
    >>> LatentSensitivityDisplay.from_estimator(PCA(1).fit(X), X).data
               sensitivity
    dimension
    0                0.025
    """

    @classmethod
    def from_estimator(cls, estimator, X, *, change=0.5, relative=False):
        """Compute the sensitivity of a fitted extractor.

        Parameters
        ----------
        estimator, X : fitted extractor or Pipeline, and array-like
            See :func:`latent_sensitivity`.
        change, relative : float, default=0.5, and bool, default=False
            See :func:`latent_sensitivity`.

        Returns
        -------
        LatentSensitivityDisplay
            Display with one figure a dimension.

        Raises
        ------
        TypeError
            If there is no extractor.
        """
        found = latent_sensitivity(estimator, X, change=change, relative=relative)
        return cls(data=found.to_frame())

    def plot(self, ax=None, *, dimensions=None, bar_kw=None):
        """Draw one bar a dimension.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        dimensions : array-like of int, default=None
            Which dimensions, in this order. None means all.
        bar_kw : dict, default=None
            Options for `Axes.bar`.

        Returns
        -------
        LatentSensitivityDisplay
            This display, which keeps `ax_` and `figure_`.
        """
        self.figure_, self.ax_ = one_axes(ax, figsize=(8, 3))
        shown = self.data.index if dimensions is None else np.asarray(dimensions)
        place = np.arange(len(shown))
        self.ax_.bar(place, self.data["sensitivity"].loc[shown], **(bar_kw or {}))
        self.ax_.set_xticks(place, shown)
        self.ax_.set(xlabel="latent dimension", ylabel="relative change of spectrum")
        return self


class LatentCorrelationDisplay(Display):
    """Pearson correlation of the latent dimensions with one another.

    Parameters
    ----------
    data : DataFrame of shape (n_components, n_components)
        Correlation, rows and columns by dimension.

    See Also
    --------
    latent_correlation : The numbers alone.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from skphonon.inspection import LatentCorrelationDisplay
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> LatentCorrelationDisplay.from_estimator(PCA(3).fit(X), X).data.shape
    (3, 3)
    """

    @classmethod
    def from_estimator(cls, estimator, X):
        """Correlate the mean codes of a fitted extractor.

        Parameters
        ----------
        estimator, X : fitted extractor or Pipeline, and array-like
            See :func:`latent_correlation`.

        Returns
        -------
        LatentCorrelationDisplay
            Display with the matrix.

        Raises
        ------
        TypeError
            If there is no extractor.
        """
        return cls(data=latent_correlation(estimator, X))

    def plot(self, ax=None, *, dimensions=None, image_kw=None):
        """Draw the matrix, from -1 (blue) to 1 (red); undefined elements stay empty.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        dimensions : array-like of int, default=None
            Which dimensions, in this order. None means all.
        image_kw : dict, default=None
            Options for `Axes.imshow`.

        Returns
        -------
        LatentCorrelationDisplay
            This display, which keeps `ax_` and `figure_`.
        """
        self.figure_, self.ax_ = one_axes(ax, figsize=(5, 4))
        shown = self.data.index if dimensions is None else np.asarray(dimensions)
        style = {"vmin": -1, "vmax": 1, "cmap": "RdBu_r", **(image_kw or {})}
        image = self.ax_.imshow(self.data.loc[shown, shown], **style)
        self.figure_.colorbar(image, ax=self.ax_, label="Pearson correlation")
        step = -(-len(shown) // 15)  # numbers that do not overlap
        ticks = np.arange(len(shown))[::step]
        self.ax_.set_xticks(ticks, shown[::step])
        self.ax_.set_yticks(ticks, shown[::step])
        self.ax_.set(xlabel="latent dimension", ylabel="latent dimension")
        return self


def _code_table(estimator, X, name):
    """Return codes as a table with one row for each spectrum and dimension."""
    _, extractor, rows = open_latent_space(estimator, X)
    mean = mean_codes(extractor, rows)
    std = np.full(mean.shape, np.nan)
    if hasattr(extractor, "encode"):
        std = np.asarray(extractor.encode(rows)[1], dtype=float)
    sample, dimension = np.indices(mean.shape)
    columns = {
        "sample": sample,
        "dimension": dimension,
        "mean": mean,
        "std": std,
    }
    table = pd.DataFrame({key: values.ravel() for key, values in columns.items()})
    table.insert(0, "set", name)
    return table
