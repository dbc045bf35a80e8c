"""Observed against nominal coverage of intervals."""

import numpy as np
import pandas as pd
from scipy.special import ndtri

from skphonon._figures import Display, add_legend, many_axes
from skphonon._validation import gives_std
from skphonon.inspection._posterior_calibration import NOMINAL, coverage_band

__all__ = ["ReliabilityDisplay"]

_COLUMNS = ["estimator", "target", "nominal", "observed", "n_samples"]


class ReliabilityDisplay(Display):
    """Observed against nominal coverage of intervals, for several estimators.

    Above the diagonal intervals are too wide, below it too narrow. The band holds the
    statistical scatter of an estimator with right intervals. The points of a curve have
    their samples in common and lie off the diagonal together.

    Parameters
    ----------
    data : DataFrame
        One row for each estimator, target and coverage, with the columns `estimator`,
        `target`, `nominal` (coverage that is stated), `observed` (share of the samples
        whose true value the interval holds) and `n_samples`.

    See Also
    --------
    skphonon.calibration.CalibratedRegressor : Makes intervals reliable.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.inspection import ReliabilityDisplay
    >>> errors = np.random.default_rng(0).normal(size=2000)
    >>> display = ReliabilityDisplay.from_predictions(errors, 0 * errors, 2.0)
    >>> display.data.query("nominal == 0.5")["observed"].round(2).item()
    0.83
    """

    @classmethod
    def from_estimator(cls, estimator, X, y, *, targets=None):
        """Predict with one or more fitted estimators.

        Parameters
        ----------
        estimator : estimator or dict of such
            Fitted; in a dict by the name it gets in the picture. What has a
            `predict_interval`, as :class:`~skphonon.calibration.CalibratedRegressor`,
            is asked for intervals; others for standard deviations, with which errors
            are taken to be normal.
        X : array-like of shape (n_samples, n_features)
            Samples that serve neither for training nor for calibration.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Their true values.
        targets : sequence of str, default=None
            Names of the targets, such as the `parameter_names` of a simulator. None:
            numbers.

        Returns
        -------
        ReliabilityDisplay
            Display with the coverage of each estimator.

        Raises
        ------
        ValueError
            If the arguments do not fit together.
        TypeError
            If an estimator gives neither intervals nor standard deviations.
        """
        if not isinstance(estimator, dict):
            estimator = {type(estimator).__name__: estimator}
        tables = [
            _table(name, y, _intervals(one, X), targets)
            for name, one in estimator.items()
        ]
        return cls(data=pd.concat(tables, ignore_index=True))

    @classmethod
    def from_predictions(cls, y_true, y_pred, y_std, *, targets=None, name="normal"):
        """Take predictions with standard deviations, for normal errors.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,) or (n_samples, n_targets)
            True values.
        y_pred : array-like of the same shape
            Predicted values.
        y_std : array-like of the same shape, or one that broadcasts to it
            Their standard deviations.
        targets : sequence of str, default=None
            Names of the targets. None: numbers.
        name : str, default="normal"
            What the curve is called.

        Returns
        -------
        ReliabilityDisplay
            Display with the coverage for each target.

        Raises
        ------
        ValueError
            If the arguments do not fit together.
        """
        values = np.asarray(y_pred, dtype=float)
        intervals = _normal_intervals(values, np.broadcast_to(y_std, values.shape))
        return cls(data=_table(name, y_true, intervals, targets))

    def plot(self, axes=None, *, band=0.95, line_kw=None, band_kw=None):
        """Draw one panel a target, with a colour for each estimator.

        Parameters
        ----------
        axes : array-like of matplotlib Axes, default=None
            Axes to draw on, one a target; None makes a figure.
        band : float, default=0.95
            How often a point of an estimator that is right lies in the grey band, which
            is that of a binomial distribution.
        line_kw : dict, default=None
            Options for `Axes.plot` of the curves.
        band_kw : dict, default=None
            Options for `Axes.fill_between` of the band.

        Returns
        -------
        ReliabilityDisplay
            This display, which keeps `axes_` and `figure_`.

        Raises
        ------
        ValueError
            If the number of axes is wrong.
        """
        panels = self.data.groupby("target", sort=False)
        self.figure_, self.axes_ = many_axes(
            axes, panels.ngroups, n_columns=3, size=(3.0, 3.0)
        )
        line = {"marker": "o", "markersize": 3, "linewidth": 1, **(line_kw or {})}
        shade = {"color": "0.85", "linewidth": 0, **(band_kw or {})}
        nominal = np.linspace(0, 1, 101)
        for (target, rows), ax in zip(panels, self.axes_, strict=True):
            n_samples = rows["n_samples"].iloc[0]
            low, high = coverage_band(n_samples, nominal, band)
            ax.fill_between(nominal, low, high, **shade)
            ax.plot([0, 1], [0, 1], color="0.5", linewidth=0.8)
            for name, curve in rows.groupby("estimator", sort=False):
                ax.plot(curve["nominal"], curve["observed"], label=name, **line)
            ax.set(
                title=target,
                xlabel="nominal coverage",
                ylabel="observed coverage",
                aspect="equal",
            )
        add_legend(self.axes_, beside=axes is None)
        return self


def _intervals(estimator, X):
    """Return ends of shape (n_coverages, n_samples, ...) at the nominal coverages."""
    if hasattr(estimator, "predict_interval"):
        return estimator.predict_interval(X, coverage=NOMINAL)
    if not gives_std(estimator):
        raise TypeError(
            "estimator must have predict_interval(X, coverage) or "
            f"predict(X, return_std=True), got {estimator!r}."
        )
    return _normal_intervals(*estimator.predict(X, return_std=True))


def _normal_intervals(values, std):
    half = np.multiply.outer(ndtri((1 + NOMINAL) / 2), std)
    return values - half, values + half


def _table(name, y, intervals, targets):
    y, (low, high) = np.asarray(y, dtype=float), intervals
    if low.shape[1:] != y.shape:
        raise ValueError(
            f"True values must have the shape of predictions, {low.shape[1:]}, got "
            f"{y.shape}."
        )
    held = ((low <= y) & (y <= high)).mean(axis=1).reshape(len(NOMINAL), -1)
    n_targets = held.shape[1]
    if targets is None:
        targets = ["y"] if y.ndim == 1 else [f"y[:, {i}]" for i in range(n_targets)]
    if len(targets) != n_targets:
        raise ValueError(
            f"targets must name {n_targets} targets, got {len(targets)} names."
        )
    rows = [
        (name, target, nominal, observed, len(y))
        for target, column in zip(targets, held.T, strict=True)
        for nominal, observed in zip(NOMINAL, column, strict=True)
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)
