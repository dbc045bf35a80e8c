"""Histograms and densities of the parameters of one posterior."""

import numpy as np
import pandas as pd
from scipy.ndimage import label, map_coordinates

from skphonon._figures import Display, many_axes
from skphonon._numbers import numbers_of, weighted_quantiles
from skphonon.inspection._posterior_calibration import open_draws, parameter_labels

__all__ = ["CornerDisplay"]

_LEVELS = (0.68, 0.95)
_QUANTILES = (0.5, 0.16, 0.84)
_TAIL = 5e-4  # weight of draws on either side that densities leave out
_OF_68 = 0.464  # variance within the inner 68 % of a Gaussian in the plane, of all
_N_BINS = 128  # of densities, a side


class CornerDisplay(Display):
    r"""Histograms of the parameters of a posterior, and densities of their pairs.

    Contours are borders of the regions of highest density that hold 68 and 95 % of the
    weight of the draws. Densities are kernel estimates: Gaussian kernels of the
    covariance of the draws within modes times :math:`n^{-1/3}`, for an effective number
    of draws :math:`n = 1 / \sum w^2` (Scott's rule). Contours of less than some hundred
    effective draws are rough.

    Parameters
    ----------
    data : DataFrame
        One row a draw, a column a parameter.
    weights : ndarray of shape (n_draws,)
        Weights of the draws, which sum to one.
    truth : ndarray of shape (n_parameters,) or None, default=None
        Values to mark, such as those of a simulated spectrum.
    limits : dict of str to (float, float) or None, default=None
        Ends of the axes by parameter. The others hold 99.9 % of the draws.

    See Also
    --------
    RankDisplay : Whether such posteriors are right.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.inspection import CornerDisplay
    >>> draws = np.random.default_rng(0).normal([20.0, 3.0], 0.1, size=(4000, 2))
    >>> display = CornerDisplay.from_draws(draws, ["1XX", "1XY"], truth=[20.0, 3.0])
    >>> display.table.round(1)
         median   low  high
    1XX    20.0  19.9  20.1
    1XY     3.0   2.9   3.1
    >>> display.plot()  # doctest: +SKIP
    """

    def __init__(self, *, data, weights, truth=None, limits=None):
        super().__init__(data=data)
        self.weights = weights
        self.truth = truth
        self.limits = limits

    @classmethod
    def from_draws(cls, draws, names=None, *, weights=None, truth=None, limits=None):
        """Take draws with or without weights.

        Parameters
        ----------
        draws : array-like of shape (n_draws, n_parameters), or posterior
            Draws; or an object with attributes `draws` and, if they differ, `weights`,
            such as a posterior or :class:`ParameterDraws`.
        names : sequence of str, default=None
            Names of the parameters. None takes those that the draws know, or numbers.
        weights : array-like of shape (n_draws,), default=None
            Weights of the draws, of any sum. None takes those of the posterior, or
            equal ones.
        truth : array-like of shape (n_parameters,), default=None
            Values to mark.
        limits : dict of str to (float, float), or sequence of these, default=None
            Ends of the axes, of all parameters in a sequence or of some by name. None:
            the central 99.9 % of the draws.

        Returns
        -------
        CornerDisplay
            Display with the draws.

        Raises
        ------
        ValueError
            If shapes do not fit, values are not finite, weights are negative or all
            zero, or there are fewer than two draws.
        """
        rows, unit = open_draws(draws, weights)
        labels = parameter_labels(names, draws, rows.shape[1])
        own = len(getattr(draws, "parameter_names", ()))
        if truth is not None:
            truth = numbers_of(truth, "truth")
            if own < len(labels) and truth.shape == (own,):
                # of the constants alone, without the nuisances behind
                labels, rows = labels[:own], rows[:, :own]
            if truth.shape != (len(labels),) or not np.isfinite(truth).all():
                raise ValueError(
                    f"truth must be {len(labels)} finite numbers, one a parameter; got "
                    f"shape {truth.shape}: {truth}."
                )
        return cls(
            data=pd.DataFrame(rows, columns=labels),
            weights=unit,
            truth=truth,
            limits=_limits(limits, labels),
        )

    @property
    def table(self):
        """Median and central 68 % interval (`low`, `high`) of each parameter."""
        return pd.DataFrame(
            [
                weighted_quantiles(self.data[n], self.weights, _QUANTILES)
                for n in self.data
            ],
            index=self.data.columns,
            columns=["median", "low", "high"],
        )

    def plot(
        self,
        axes=None,
        *,
        parameters=None,
        n_bins=30,
        color="C0",
        bar_kw=None,
        contour_kw=None,
        truth_kw=None,
    ):
        """Draw histograms on the diagonal and densities of pairs below.

        Titles give the median and the distances to the ends of the 68 % interval.

        Parameters
        ----------
        axes : array-like of matplotlib Axes, default=None
            Axes to draw on, of shape (n_parameters, n_parameters); those above the
            diagonal are not used. None makes a figure. The `axes_` of another display
            lay this one over it.
        parameters : sequence of str, default=None
            Names of those to draw, in this order. None means all.
        n_bins : int, default=30
            Bins of a histogram.
        color : matplotlib colour, default="C0"
            Colour of histograms and densities.
        bar_kw : dict, default=None
            Options for `Axes.stairs` of histograms.
        contour_kw : dict, default=None
            Options for `Axes.contour` of the borders.
        truth_kw : dict, default=None
            Options for the lines that mark the truth.

        Returns
        -------
        CornerDisplay
            This display, which keeps `axes_` (None above the diagonal) and `figure_`.

        Raises
        ------
        ValueError
            If `parameters` are unknown, or the number of axes is wrong.
        """
        shown = list(self.data) if parameters is None else list(parameters)
        unknown = [name for name in shown if name not in self.data]
        if unknown or not shown:
            raise ValueError(
                f"parameters must be some of {', '.join(self.data)}; got {shown}."
            )
        self.figure_, self.axes_ = _corner_axes(axes, len(shown))
        ends = {name: self._ends(name) for name in shown}
        bars = {"color": color, **(bar_kw or {})}
        border = {"colors": [color], "linewidths": 1, **(contour_kw or {})}
        mark = {"color": "C3", "linewidth": 0.8, **(truth_kw or {})}
        for i, y in enumerate(shown):
            self._draw_histogram(self.axes_[i, i], y, ends[y], n_bins, bars, mark)
            for x, ax in zip(shown[:i], self.axes_[i], strict=False):
                self._draw_pair(ax, x, y, color, border, mark)
                ax.set(xlim=ends[x], ylim=ends[y], ylabel=y)
        for name, ax in zip(shown, self.axes_[-1], strict=True):
            ax.set_xlabel(name)
        for ax in self.axes_[np.tril_indices(len(shown))]:
            ax.tick_params(labelsize="small", rotation=45)
            ax.locator_params(nbins=3, axis="x")
            ax.label_outer()
        self.figure_.align_labels()
        return self

    def _ends(self, name):
        if self.limits and name in self.limits:
            return self.limits[name]
        low, high = weighted_quantiles(
            self.data[name], self.weights, (_TAIL, 1 - _TAIL)
        )
        if self.truth is not None:
            value = self.truth[self.data.columns.get_loc(name)]
            low, high = min(low, value), max(high, value)
        margin = 0.03 * (high - low) or 1e-3 * abs(low) or 1.0
        return low - margin, high + margin

    def _draw_histogram(self, ax, name, ends, n_bins, bars, mark):
        median, low, high = self.table.loc[name]
        counts, edges = np.histogram(
            self.data[name], bins=n_bins, range=ends, weights=self.weights
        )
        ax.stairs(counts, edges, **bars)
        for place, dashes in ((median, "-"), (low, "--"), (high, "--")):
            ax.axvline(place, color=bars["color"], linestyle=dashes, linewidth=0.8)
        if self.truth is not None:
            ax.axvline(self.truth[self.data.columns.get_loc(name)], **mark)
        ax.set_title(f"{name}\n{_with_errors(median, low, high)}", fontsize="small")
        ax.set(xlim=ends, yticks=[])

    def _draw_pair(self, ax, x, y, color, border, mark):
        pair = self.data[[x, y]].to_numpy()
        density = _density(pair, self.weights)
        if density is None:
            ax.plot(*pair.T, ".", color=color, markersize=1)
        else:
            columns, rows, values, borders = density
            for level in borders:
                fill = {"levels": [level, np.inf], "colors": [color], "alpha": 0.25}
                ax.contourf(columns, rows, values, **fill)
            ax.contour(columns, rows, values, levels=borders, **border)
        if self.truth is not None:
            places = self.truth[self.data.columns.get_indexer([x, y])]
            ax.axvline(places[0], **mark)
            ax.axhline(places[1], **mark)


def _limits(limits, labels):
    """Return ends of axes by name."""
    if limits is None:
        return None
    if not hasattr(limits, "items"):
        if len(limits) != len(labels):
            raise ValueError(
                f"limits must hold (low, high) for each of {len(labels)} parameters, "
                f"or be a dict with some of them; got {len(limits)}."
            )
        limits = dict(zip(labels, limits, strict=True))
    for name, ends in limits.items():
        if name not in labels:
            raise ValueError(
                f"limits must name parameters, {', '.join(labels)}; got {name!r}."
            )
        pair = numbers_of(ends, f"limits of {name}")
        if pair.shape != (2,) or not np.isfinite(pair).all() or pair[0] >= pair[1]:
            raise ValueError(
                f"limits of {name} must be (low, high) with low below high, got {ends}."
            )
    return {name: tuple(map(float, ends)) for name, ends in limits.items()}


def _with_errors(median, low, high):
    """Return a number with its errors, these with two digits."""
    smallest = min(high - median, median - low)
    if not smallest > 0:
        return f"{median:.4g}"
    digits = max(1 - int(np.floor(np.log10(smallest))), 0)
    return (
        f"${median:.{digits}f}"
        f"^{{+{high - median:.{digits}f}}}_{{-{median - low:.{digits}f}}}$"
    )


def _corner_axes(axes, n):
    if axes is None:
        size = 2.4 if n < 4 else 1.7
        figure, panels = many_axes(None, n * n, n_columns=n, size=(size, size))
        panels = panels.reshape(n, n)
        for i, j in zip(*np.triu_indices(n, 1), strict=True):
            figure.delaxes(panels[i, j])
            panels[i, j] = None
        return figure, panels
    figure, panels = many_axes(axes, n * n, n_columns=n, size=(1.7, 1.7))
    return figure, panels.reshape(n, n)


def _density(pair, weights):
    """Return a smooth density of weighted draws in the plane, for contours.

    That is places of columns and rows, values with a frame of zeros, and the values on
    the borders of 95 and 68 %, in this order. Too few draws, or such on a line, have
    none.
    """
    low, high = np.array(
        [weighted_quantiles(c, weights, (_TAIL, 1 - _TAIL)) for c in pair.T]
    ).T
    width = (high - low) / _N_BINS
    if not (width > 0).all():
        return None
    places = (pair - low) / width - 0.5  # bin centres are whole numbers
    inside = ((places >= -0.5) & (places <= _N_BINS - 0.5)).all(axis=1)
    places, share = places[inside], weights[inside]
    bounds = [(-0.5, _N_BINS - 0.5)] * 2
    counts = np.histogramdd(places, _N_BINS, bounds, weights=share)[0]
    covariance = np.cov(places.T, aweights=share, ddof=0)
    for _ in range(2):  # the second time with the covariance within modes
        kernel = covariance * (share**2).sum() ** (1 / 3)
        kernel += 0.5 * np.eye(2)  # no narrower than bins
        values = _smooth(counts, kernel)
        of_draws = np.zeros(len(weights))
        of_draws[inside] = map_coordinates(values, places.T, order=1, mode="nearest")
        of_draws -= weights / (2 * np.pi * np.sqrt(np.linalg.det(kernel)))  # their own
        borders = weighted_quantiles(of_draws, weights, 1 - np.array(_LEVELS))
        borders = np.unique(borders[borders > 0])
        if not len(borders) or borders[-1] >= values.max():
            return None
        covariance = _within_modes(places, share, values > borders[-1])
    # values go on to the edges, and fall to zero there
    frame = np.r_[-0.501, -0.5, :_N_BINS, _N_BINS - 0.5, _N_BINS - 0.499]
    at = low + (frame[:, None] + 0.5) * width
    return *at.T, np.pad(np.pad(values, 1, "edge"), 1).T, borders


def _within_modes(places, share, dense):
    """Return the covariance of draws about the middle of the mode that they are in.

    Modes are the parts of the region that holds 68 % of the draws.
    """
    modes, n_modes = label(dense)
    bins = np.clip(np.rint(places), 0, _N_BINS - 1).astype(int)
    mode_of = modes[tuple(bins.T)]
    scatter = np.zeros((2, 2))
    for number in range(1, n_modes + 1):
        chosen = mode_of == number
        weight = share[chosen].sum()
        if weight > 0:
            around = places[chosen] - share[chosen] @ places[chosen] / weight
            scatter += (share[chosen] * around.T) @ around
    in_modes = share @ (mode_of > 0)
    return scatter / (in_modes * _OF_68) if in_modes else scatter


def _smooth(counts, kernel):
    """Convolve a histogram with a normal kernel, mirrored at its edges.

    So a density that a bound cuts off does not fade out there.
    """
    n = len(counts)
    mirrored = np.pad(counts, n // 2, mode="symmetric")
    k = 2 * np.pi * np.fft.fftfreq(len(mirrored))
    power = kernel[0, 0] * k[:, None] ** 2 + 2 * kernel[0, 1] * np.outer(k, k)
    power += kernel[1, 1] * k**2
    smooth = np.fft.ifft2(np.fft.fft2(mirrored) * np.exp(-power / 2)).real
    return np.clip(smooth[n // 2 : -(n // 2), n // 2 : -(n // 2)], 0, None)
