"""Pictures of how far posteriors of many simulated spectra are right."""

import numpy as np
import pandas as pd
from scipy.stats import kstest

from skphonon._figures import Display, many_axes, one_axes
from skphonon.inspection._posterior_calibration import (
    coverage_band,
    parameter_labels,
    rank_statistics,
    tarp_coverage,
)

__all__ = ["RankDisplay", "TARPDisplay"]


class RankDisplay(Display):
    """Histograms of the ranks of true parameters among draws of posteriors.

    They are flat for right posteriors, high at both ends for too narrow ones, high in
    the middle for too wide ones, and a slope for shifted ones.

    Parameters
    ----------
    data : DataFrame
        One row for each spectrum, a column for each parameter: ranks between 0 and 1.

    See Also
    --------
    rank_statistics : Definition of the ranks, and what they do not tell.
    TARPDisplay : Coverage of all parameters together.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.inspection import RankDisplay
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=(500, 2))
    >>> draws = rng.normal(size=(500, 99, 2)) * [1.0, 0.5]
    >>> ranks = RankDisplay.from_draws(draws, truth, names=["right", "sure"])
    >>> ranks.table["p_value"] < 0.01
    right    False
    sure      True
    Name: p_value, dtype: bool
    """

    @classmethod
    def from_draws(cls, draws, truth, *, names=None, weights=None, random_state=None):
        """Rank truths among draws.

        Parameters
        ----------
        draws : array-like of shape (n_spectra, n_draws, n_parameters), or list
            Draws from the posterior of each spectrum, see :func:`rank_statistics`.
        truth : array-like of shape (n_spectra, n_parameters)
            Parameters with which the spectra were simulated.
        names : sequence of str, default=None
            Names of the parameters. None takes those of tables of draws, or numbers.
        weights : array-like of shape (n_spectra, n_draws) or list, default=None
            Weights of the draws. None takes those of the posteriors, or equal ones.
        random_state : int, RandomState instance or None, default=None
            Seed of what makes ranks even.

        Returns
        -------
        RankDisplay
            Display with the ranks.

        Raises
        ------
        ValueError
            If arguments are wrong, see :func:`rank_statistics`.
        """
        ranks = rank_statistics(draws, truth, weights, random_state=random_state)
        labels = parameter_labels(names, draws[0], ranks.shape[1])
        return cls(data=pd.DataFrame(ranks, columns=labels))

    @property
    def table(self):
        """Tests of each parameter.

        One row a parameter, with the columns `p_value` (Kolmogorov-Smirnov test that
        ranks are even; the smallest of n parameters is below p with a probability of up
        to n p), `shift` (mean rank less 1/2: above zero where truths lie above draws)
        and `overconfidence` (mean square distance of ranks from 1/2, less 1/12: above
        zero where draws are too narrow, below where they are too wide), these two in
        units of their standard deviations for right posteriors, and `n_spectra`.
        """
        ranks, n = self.data, len(self.data)
        square = ((ranks - 0.5) ** 2).mean()
        return pd.DataFrame(
            {
                "p_value": [kstest(ranks[name], "uniform").pvalue for name in ranks],
                "shift": (ranks.mean() - 0.5) * np.sqrt(12 * n),
                "overconfidence": (square - 1 / 12) * np.sqrt(180 * n),
                "n_spectra": n,
            },
            index=ranks.columns,
        )

    def plot(self, axes=None, *, n_bins=None, band=0.99, bar_kw=None, band_kw=None):
        """Draw a histogram a parameter, with its p-value.

        Parameters
        ----------
        axes : array-like of matplotlib Axes, default=None
            Axes to draw on, one a parameter; None makes a figure.
        n_bins : int, default=None
            Number of bins. None: one for 15 spectra, from 4 to 20.
        band : float, default=0.99
            How often a bar of right posteriors ends in the grey band, which is that of
            a binomial distribution.
        bar_kw : dict, default=None
            Options for `Axes.bar`.
        band_kw : dict, default=None
            Options for `Axes.axhspan` of the band.

        Returns
        -------
        RankDisplay
            This display, which keeps `axes_` and `figure_`.

        Raises
        ------
        ValueError
            If the number of axes is wrong.
        """
        n_spectra, n_parameters = self.data.shape
        n_bins = int(np.clip(n_spectra // 15, 4, 20)) if n_bins is None else n_bins
        self.figure_, self.axes_ = many_axes(
            axes, n_parameters, n_columns=4, size=(2.4, 2.1)
        )
        ends = np.array(coverage_band(n_spectra, 1 / n_bins, band)) * n_spectra
        shade = {"color": "0.85", "linewidth": 0, **(band_kw or {})}
        edges = np.linspace(0, 1, n_bins + 1)
        bars = {"width": 1 / n_bins, "align": "edge", "alpha": 0.7, **(bar_kw or {})}
        for (name, p_value), ax in zip(
            self.table["p_value"].items(), self.axes_, strict=True
        ):
            ax.axhspan(*ends, **shade)
            ax.axhline(n_spectra / n_bins, color="0.5", linewidth=0.8)
            ax.bar(edges[:-1], np.histogram(self.data[name], edges)[0], **bars)
            ax.set_title(f"{name} (p = {p_value:.2g})", fontsize="small")
            ax.set(xlabel="rank of the truth", ylabel="spectra", xlim=(0, 1))
        return self


class TARPDisplay(Display):
    """Expected against nominal coverage of joint credible regions.

    The light band holds the whole curve of right posteriors 99 times of 100, the dark
    one a single point of it.

    Parameters
    ----------
    data : DataFrame
        Table of a :class:`JointCoverage`.
    p_value : float
        Of the Kolmogorov-Smirnov test that posteriors are right.

    See Also
    --------
    tarp_coverage : The numbers alone, and what they do not tell.
    ReliabilityDisplay : Coverage of single parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.inspection import TARPDisplay
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(500, 1, 2))
    >>> truth, draws = rng.normal(x)[:, 0], rng.normal(x, size=(500, 99, 2))
    >>> display = TARPDisplay.from_draws(draws, truth, random_state=0)
    >>> display.data.eval("low_all <= observed <= high_all").all().item()
    True
    """

    def __init__(self, *, data, p_value):
        super().__init__(data=data)
        self.p_value = p_value

    @classmethod
    def from_draws(
        cls, draws, truth, *, weights=None, references="random", random_state=None
    ):
        """Count how often regions of each credibility hold the truth.

        Parameters
        ----------
        draws, truth, weights : array-like
            See :func:`tarp_coverage`.
        references : "random", "ellipsoid" or array-like, default="random"
            Centres of the regions, see :func:`tarp_coverage`.
        random_state : int, RandomState instance or None, default=None
            Seed of the references and of what makes ranks even.

        Returns
        -------
        TARPDisplay
            Display with the coverages.

        Raises
        ------
        ValueError
            If arguments are wrong, see :func:`tarp_coverage`.
        """
        _, table, p_value = tarp_coverage(
            draws, truth, weights, references=references, random_state=random_state
        )
        return cls(data=table, p_value=p_value)

    @property
    def table(self):
        """The coverages, as in `data`."""
        return self.data

    def plot(self, ax=None, *, line_kw=None, band_kw=None):
        """Draw the curve on its bands.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        line_kw : dict, default=None
            Options for `Axes.plot` of the curve.
        band_kw : dict, default=None
            Options for `Axes.fill_between` of both bands.

        Returns
        -------
        TARPDisplay
            This display, which keeps `ax_` and `figure_`.
        """
        self.figure_, self.ax_ = one_axes(ax, figsize=(3.6, 3.6))
        nominal = self.data["nominal"]
        for ends, colour in (
            (("low_all", "high_all"), "0.9"),
            (("low", "high"), "0.8"),
        ):
            shade = {"color": colour, "linewidth": 0, **(band_kw or {})}
            self.ax_.fill_between(nominal, *self.data[list(ends)].to_numpy().T, **shade)
        self.ax_.plot([0, 1], [0, 1], color="0.5", linewidth=0.8)
        self.ax_.plot(nominal, self.data["observed"], **(line_kw or {}))
        self.ax_.set_title(f"p = {self.p_value:.2g}", fontsize="small")
        self.ax_.set(
            xlabel="nominal coverage", ylabel="expected coverage", aspect="equal"
        )
        return self
