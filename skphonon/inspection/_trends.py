"""Predicted constants and the fit to the spectra against temperature."""

import numpy as np
import pandas as pd
from scipy.stats import linregress, rankdata
from sklearn.utils.validation import check_consistent_length

from skphonon._figures import Display, add_legend, many_axes
from skphonon._validation import gives_std
from skphonon.metrics import nmse

__all__ = ["TemperatureTrendsDisplay"]

_NMSE = "nmse"


class TemperatureTrendsDisplay(Display):
    """Constants and NMSE against temperature, for several estimators.

    Each series gets a straight line, fitted by least squares without weights: errors of
    a network are correlated between temperatures, so that its error bars are not the
    weights of independent points. The error of a slope therefore comes from the scatter
    about the line.

    Parameters
    ----------
    data : DataFrame
        One row for each estimator, spectrum and quantity, with the columns `estimator`,
        `temperature` (K), `quantity` ("nmse", without unit, or the name of a constant),
        `value` and `std` (standard deviation; NaN where the estimator gives none).

    See Also
    --------
    SpectrumProfilesDisplay : The spectra behind the NMSE.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.inspection import TemperatureTrendsDisplay
    >>> class Line:
    ...     parameter_names = ["a"]
    ...     def simulate(self, parameters):
    ...         return parameters * [0.0, 1.0, 3.0]
    >>> constants = np.array([[3.0], [2.5], [2.0]])
    >>> display = TemperatureTrendsDisplay.from_predictions(
    ...     {"network": (constants, 0.1 * np.ones((3, 1)))},
    ...     Line().simulate(constants),
    ...     temperature=[100.0, 200.0, 300.0],
    ...     simulator=Line(),
    ... )
    >>> display.fits.query("quantity == 'a'")[["slope", "spearman"]].round(4)
       slope  spearman
    1 -0.005      -1.0
    """

    @classmethod
    def from_estimator(cls, estimator, X, *, temperature, simulator, scale="fitted"):
        """Predict with one or more fitted estimators.

        Parameters
        ----------
        estimator : estimator with a `predict` method, or dict of such
            Fitted pipelines and optimisers, by the name they get in the picture.
            Standard deviations are asked for where `predict` has `return_std`.
        X, temperature : array-like
            Measured spectra and their temperatures in K, see `from_predictions`.
        simulator, scale : object and str, default="fitted"
            See `from_predictions`.

        Returns
        -------
        TemperatureTrendsDisplay
            Display with all series.

        Raises
        ------
        ValueError
            If the arguments do not fit together.
        """
        if not isinstance(estimator, dict):
            estimator = {type(estimator).__name__: estimator}
        predictions = {
            name: e.predict(X, return_std=True) if gives_std(e) else e.predict(X)
            for name, e in estimator.items()
        }
        return cls.from_predictions(
            predictions, X, temperature=temperature, simulator=simulator, scale=scale
        )

    @classmethod
    def from_predictions(
        cls, predictions, X, *, temperature, simulator, scale="fitted"
    ):
        """Take predicted constants, and simulate them for the NMSE.

        Parameters
        ----------
        predictions : dict of str to ndarray of shape (n_samples, n_parameters)
            Constants by the name of the estimator, or tuples of constants and their
            standard deviations.
        X : array-like of shape (n_samples, n_pixels)
            Measured spectra, NaN where not measured.
        temperature : array-like of shape (n_samples,)
            Kelvin; at least two different ones.
        simulator : object with `simulate` and `parameter_names`
            Turns constants into spectra on the grid of X.
        scale : {"normalized", "fitted"}, default="fitted"
            Which :func:`skphonon.metrics.nmse`.

        Returns
        -------
        TemperatureTrendsDisplay
            Display with all series.

        Raises
        ------
        ValueError
            If the arguments do not fit together.
        """
        check_consistent_length(X, temperature)
        temperature = np.asarray(temperature, dtype=float)
        _require_a_trend(temperature)
        tables = []
        for name, given in predictions.items():
            constants, std = given if isinstance(given, tuple) else (given, None)
            check_consistent_length(X, constants)
            constants = np.reshape(constants, (len(constants), -1))
            error = nmse(X, simulator.simulate(constants), scale=scale)
            names = simulator.parameter_names
            tables.append(_series(name, temperature, error, constants, std, names))
        return cls(data=pd.concat(tables, ignore_index=True))

    @classmethod
    def from_fits(cls, fits):
        """Take fits of spectra, with what was fitted along in their NMSE.

        Parameters
        ----------
        fits : list of SpectrumFit, or dict of such lists
            ``LeastSquaresInverter.fits_`` of spectra at two temperatures or more; in a
            dict, by the name they get in the picture.

        Returns
        -------
        TemperatureTrendsDisplay
            Display with all series. Temperatures are those that were simulated.

        Raises
        ------
        ValueError
            If a series has fewer than two temperatures.
        """
        named = fits if isinstance(fits, dict) else {"least squares": fits}
        tables = []
        for name, some in named.items():
            temperature = np.array([float(fit.simulator.temperature) for fit in some])
            _require_a_trend(temperature)
            error = [fit.figures["loss"] for fit in some]
            constants = np.array([fit.parameters for fit in some])
            std = np.array([fit.std for fit in some])
            names = some[0].parameter_names
            tables.append(_series(name, temperature, error, constants, std, names))
        return cls(data=pd.concat(tables, ignore_index=True))

    @property
    def fits(self):
        """Straight lines through the series, and their rank correlation.

        One row for each estimator and quantity, with the columns `estimator`,
        `quantity`, `slope` and `slope_error` (unit of the quantity a Kelvin; the
        standard error, NaN for fewer than three temperatures), `intercept` (at 0 K)
        and `spearman`, the rank correlation with temperature (-1 where a series falls
        throughout; NaN for a constant one).
        """
        groups = self.data.groupby(["estimator", "quantity"], sort=False)
        return pd.DataFrame(
            [
                {"estimator": estimator, "quantity": quantity, **_fit(rows)}
                for (estimator, quantity), rows in groups
            ]
        )

    def plot(
        self,
        axes=None,
        *,
        show_fits=True,
        unit=r"eV/Å$^2$",
        errorbar_kw=None,
        line_kw=None,
    ):
        """Draw one panel a quantity, with a colour for each estimator.

        Parameters
        ----------
        axes : array-like of matplotlib Axes, default=None
            Axes to draw on, one a quantity; None makes a figure.
        show_fits : bool, default=True
            Whether to draw the straight lines.
        unit : str, default=r"eV/Å$^2$"
            Unit of the constants.
        errorbar_kw : dict, default=None
            Options for `Axes.errorbar`.
        line_kw : dict, default=None
            Options for `Axes.plot` of the straight lines.

        Returns
        -------
        TemperatureTrendsDisplay
            This display, which keeps `axes_` and `figure_`.

        Raises
        ------
        ValueError
            If the number of axes is wrong.
        """
        quantities = self.data["quantity"].unique()
        names = self.data["estimator"].unique()
        self.figure_, self.axes_ = many_axes(
            axes, len(quantities), n_columns=3, size=(3.5, 2.7)
        )
        points = {"fmt": "o", "markersize": 4, "capsize": 2, **(errorbar_kw or {})}
        line = {"linestyle": "--", "linewidth": 1, **(line_kw or {})}
        panels = dict(zip(quantities, self.axes_, strict=True))
        colours = {name: f"C{i}" for i, name in enumerate(names)}
        groups = self.data.groupby(["estimator", "quantity"], sort=False)
        for (name, quantity), rows in groups:
            panels[quantity].errorbar(
                rows["temperature"],
                rows["value"],
                None if rows["std"].isna().all() else rows["std"],
                **{"color": colours[name], "label": name, **points},
            )
        ends = self.data["temperature"].agg(["min", "max"]).to_numpy()
        for fit in self.fits.itertuples() if show_fits else ():
            heights = fit.intercept + fit.slope * ends
            style = {"color": colours[fit.estimator], **line}
            panels[fit.quantity].plot(ends, heights, **style)
        for quantity, ax in panels.items():
            label = "NMSE" if quantity == _NMSE else f"{quantity} ({unit})"
            ax.set(xlabel="temperature (K)", ylabel=label)
        add_legend(self.axes_, beside=axes is None)
        return self


def _require_a_trend(temperature):
    """Raise an error where all spectra have one temperature."""
    if np.unique(temperature).size < 2:
        raise ValueError(
            "A trend needs spectra at two temperatures or more, got "
            f"{np.unique(temperature).tolist()} K."
        )


def _series(name, temperature, error, constants, std, names):
    """Return the values of one estimator, one row for each quantity and spectrum."""
    quantities = [_NMSE, *names]
    values = np.column_stack([error, constants])
    spread = np.full(values.shape, np.nan)
    if std is not None:
        spread[:, 1:] = np.reshape(std, np.shape(constants))
    return pd.DataFrame(
        {
            "estimator": name,
            "temperature": np.tile(temperature, len(quantities)),
            "quantity": np.repeat(quantities, len(temperature)),
            "value": values.T.ravel(),
            "std": spread.T.ravel(),
        }
    )


def _fit(rows):
    x, y = rows["temperature"].to_numpy(), rows["value"].to_numpy()
    line = linregress(x, y)
    constant = (y == y[0]).all()
    ranks = rankdata(x), rankdata(y)
    return {
        "slope": line.slope,
        "slope_error": line.stderr if len(x) > 2 else np.nan,
        "intercept": line.intercept,
        "spearman": np.nan if constant else np.corrcoef(*ranks)[0, 1],
    }
