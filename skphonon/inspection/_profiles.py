"""Spectra averaged over momentum transfer: measured, re-simulated, and their peaks."""

import numpy as np
import pandas as pd
from scipy.signal import find_peaks
from sklearn.utils.validation import check_consistent_length

from skphonon._figures import Display, one_axes
from skphonon.metrics import SCALES, comparable

__all__ = ["SpectrumProfilesDisplay"]

_PROMINENCE = 0.05  # of the range of the mean simulated profile
_FEWEST_POINTS = 4  # a parabola and one to spare
_MOVES = 20  # of a parabola to its vertex; steps shrink severalfold with each


class SpectrumProfilesDisplay(Display):
    """Spectra averaged over momentum transfer, measured beside re-simulated.

    Each spectrum is normalised over the pixels that both have, the simulated one is
    brought to the scale of the measured one if asked, and both are averaged over the
    momentum transfers at each energy.

    Peaks are followed through the temperatures, near energies that are given, or else
    near the maxima of the mean simulated profile that stand out by more than 5 % of
    its range. The position of a peak in a profile is the maximum near that energy of
    the profile smoothed by parabolas: a parabola is fitted to the points within
    `peak_width` of the highest point, those far out weighing less, and moved to its own
    vertex until it stays. It uses many points, so noise in one moves it little. A
    shoulder has no position, NaN: no parabola there has a maximum within `peak_width`.

    Parameters
    ----------
    data : DataFrame
        Profiles: one row for each spectrum and energy, by rising temperature, with the
        columns `sample`, `temperature` (K), `energy` (meV), `measured` and `simulated`
        (without unit; NaN where no pixel was measured).
    peaks : DataFrame
        One row for each spectrum and peak, with the columns `sample`, `temperature`
        (K), `peak` (number, from 0), `measured` and `simulated` (positions in meV), and
        `measured_shift` and `simulated_shift`, from the position at the lowest
        temperature (meV).

    See Also
    --------
    TemperatureTrendsDisplay : The constants themselves against temperature.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.inspection import SpectrumProfilesDisplay
    >>> from skphonon.instrument import SpectrumGrid
    >>> grid = SpectrumGrid(np.arange(10.0, 30.0), [1.0, 2.0])
    >>> energy = np.repeat(grid.energy, 2)
    >>> X = np.exp(-(((energy - [[20.0], [19.5]]) / 3) ** 2))
    >>> display = SpectrumProfilesDisplay.from_predictions(
    ...     X, 2 * X, temperature=[50.0, 640.0], grid=grid
    ... )
    >>> display.peaks[["temperature", "measured", "simulated_shift"]].round(2)
       temperature  measured  simulated_shift
    0         50.0      20.0              0.0
    1        640.0      19.5             -0.5
    """

    def __init__(self, *, data, peaks):
        super().__init__(data=data)
        self.peaks = peaks

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        *,
        temperature,
        simulator,
        scale="fitted",
        near=None,
        peak_width=2.5,
    ):
        """Predict constants from spectra and simulate these again.

        Parameters
        ----------
        estimator : estimator with a `predict` method
            Fitted pipeline or optimiser.
        X : array-like of shape (n_samples, n_pixels)
            Measured spectra, NaN where not measured.
        temperature : array-like of shape (n_samples,)
            Kelvin.
        simulator : object with `simulate` and `grid`
            Turns constants into spectra on the grid of X.
        scale : {"normalized", "fitted"}, default="fitted"
            See `from_predictions`.
        near : array-like of shape (n_peaks,), default=None
            See `from_predictions`.
        peak_width : float, default=2.5
            See `from_predictions`.

        Returns
        -------
        SpectrumProfilesDisplay
            Display with the profiles and their peaks.

        Raises
        ------
        ValueError
            If the arguments do not fit together.
        """
        constants = np.asarray(estimator.predict(X), dtype=float)
        return cls.from_predictions(
            X,
            simulator.simulate(constants.reshape(len(constants), -1)),
            temperature=temperature,
            grid=simulator.grid,
            scale=scale,
            near=near,
            peak_width=peak_width,
        )

    @classmethod
    def from_predictions(
        cls,
        measured,
        simulated,
        *,
        temperature,
        grid,
        scale="fitted",
        near=None,
        peak_width=2.5,
    ):
        """Average measured and simulated spectra, and find their peaks.

        Parameters
        ----------
        measured, simulated : array-like of shape (n_samples, n_pixels)
            Spectra in any unit, NaN where there are none.
        temperature : array-like of shape (n_samples,)
            Kelvin.
        grid : SpectrumGrid
            Grid of both.
        scale : {"normalized", "fitted"}, default="fitted"
            Whether simulated spectra keep the scale of their own normalisation,
            (x - mean) / (max - min), or are multiplied by the factor, not negative,
            that fits the measured ones best; as in :func:`skphonon.metrics.nmse`.
        near : array-like of shape (n_peaks,), default=None
            Energies in meV near which to look for peaks. None finds them.
        peak_width : float, default=2.5
            Half the width of the fitted piece of a peak, meV: about 1.5 standard
            deviations of the energy resolution, and at least two bins.

        Returns
        -------
        SpectrumProfilesDisplay
            Display with the profiles and their peaks.

        Raises
        ------
        ValueError
            If the arguments do not fit together or a spectrum is constant.
        """
        if scale not in SCALES:
            raise ValueError(
                f"scale must be one of {', '.join(SCALES)}, got {scale!r}."
            )
        check_consistent_length(measured, simulated, temperature)
        order = np.argsort(np.asarray(temperature, dtype=float), kind="stable")
        samples = {
            "sample": order,
            "temperature": np.asarray(temperature, dtype=float)[order],
        }
        pair = _normalized_pair(measured, simulated, scale)
        profiles = [_profile(grid, rows[order]) for rows in pair]
        energy, _ = grid.axes()
        if near is None:
            near = _prominent(energy, profiles[1].mean(axis=0))
        positions = [_peak_positions(energy, p, near, peak_width) for p in profiles]
        return cls(
            data=_table(samples, "energy", energy, _named(*profiles)),
            peaks=_peak_table(samples, *positions),
        )

    def plot(self, ax=None, *, spacing=None, measured_kw=None, simulated_kw=None):
        """Draw the profiles one above the other, dots measured, lines simulated.

        Triangles mark the peaks of measured profiles; a dashed line joins those of
        simulated ones.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        spacing : float, default=None
            Distance between profiles. None is half the height of the highest.
        measured_kw : dict, default=None
            Options for `Axes.plot` of measured profiles.
        simulated_kw : dict, default=None
            Options for `Axes.plot` of simulated profiles.

        Returns
        -------
        SpectrumProfilesDisplay
            This display, which keeps `ax_` and `figure_`.
        """
        self.figure_, self.ax_ = one_axes(ax, figsize=(6, 7))
        if spacing is None:
            spacing = np.ptp(self.data["simulated"].dropna()) / 2
        dots = {"color": "black", "marker": ".", "linestyle": "", "markersize": 4}
        for shift, (_, rows) in enumerate(self.data.groupby("sample", sort=False)):
            above = spacing * shift
            line = {"color": f"C{shift}", **(simulated_kw or {})}
            measured = {**dots, **(measured_kw or {})}
            self.ax_.plot(rows["energy"], rows["measured"] + above, **measured)
            self.ax_.plot(rows["energy"], rows["simulated"] + above, **line)
            end = rows.dropna().iloc[-1]
            self.ax_.annotate(
                f" {end['temperature']:g} K",
                (end["energy"], end["simulated"] + above),
                color=line["color"],
            )
        self._mark_peaks(spacing)
        self.ax_.margins(x=0.12)
        self.ax_.set(
            xlabel="energy transfer (meV)",
            ylabel=r"normalised intensity, mean over $|Q|$, shifted",
        )
        return self

    def _mark_peaks(self, spacing):
        """Draw the peaks on the profiles: triangles and a dashed line each."""
        heights = pd.DataFrame(np.nan, self.peaks.index, ["measured", "simulated"])
        samples = self.data.groupby("sample", sort=False)
        for shift, (sample, rows) in enumerate(samples):
            here = self.peaks["sample"] == sample
            for name in heights:
                heights.loc[here, name] = spacing * shift + np.interp(
                    self.peaks.loc[here, name], rows["energy"], rows[name]
                )
        for _, rows in self.peaks.groupby("peak"):
            height = heights.loc[rows.index]
            self.ax_.plot(rows["simulated"], height["simulated"], "--", color="0.5")
            self.ax_.plot(rows["measured"], height["measured"], "kv", markersize=5)


def _normalized_pair(measured, simulated, scale):
    """Return both sets of spectra, comparable and on the pixels that they share."""
    measured, simulated = (np.asarray(a, dtype=float) for a in (measured, simulated))
    if measured.shape != simulated.shape:
        raise ValueError(
            "measured and simulated must have the same shape, got "
            f"{measured.shape} and {simulated.shape}. Simulate on the grid of the "
            "measurement."
        )
    return comparable(measured, simulated, scale)


def _profile(grid, rows):
    """Average over momentum transfer; NaN at an energy without a measured pixel."""
    images = grid.to_image(rows)
    count = np.isfinite(images).sum(axis=2)
    total = np.nansum(images, axis=2)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _prominent(energy, profile):
    seen = np.isfinite(profile)
    energy, profile = energy[seen], profile[seen]
    peaks, _ = find_peaks(profile, prominence=_PROMINENCE * np.ptp(profile))
    return energy[peaks]


def _peak_positions(energy, profiles, near, width):
    """Return positions of shape (n_profiles, n_peaks) in meV."""
    found = [
        _peak_position(energy, profile, start, width)
        for profile in profiles
        for start in near
    ]
    return np.reshape(found, (len(profiles), len(near)))


def _peak_position(energy, profile, start, width):
    """Return the maximum of the smoothed profile near `start`, or NaN.

    A parabola, fitted with weights that fall smoothly to zero at `width` from its
    middle, is moved to its own vertex until it stays there.
    """
    seen = np.isfinite(profile)
    near = seen & (np.abs(energy - start) <= width)
    if not near.any():
        return np.nan
    centre = energy[near][np.argmax(profile[near])]
    for _ in range(_MOVES):
        near = seen & (np.abs(energy - centre) < width)
        if near.sum() < _FEWEST_POINTS:
            return np.nan
        offset = (energy[near] - centre) / width
        curvature, slope, _ = np.polyfit(offset, profile[near], 2, w=1 - offset**2)
        step = -slope / (2 * curvature) if curvature < 0 else np.inf
        if abs(step) > 1:  # a shoulder: the maximum is elsewhere
            return np.nan
        centre += step * width
    return float(centre)


def _peak_table(samples, measured, simulated):
    """Return positions (n_samples, n_peaks) and their shifts as a table."""
    positions = _named(measured, simulated)
    shifts = {f"{name}_shift": p - p[0] for name, p in positions.items()}
    return _table(
        samples, "peak", np.arange(measured.shape[1]), {**positions, **shifts}
    )


def _named(measured, simulated):
    return {"measured": measured, "simulated": simulated}


def _table(samples, level, places, values):
    """Return arrays (n_samples, n_places) as columns beside what labels their axes."""
    labels = {name: np.repeat(column, len(places)) for name, column in samples.items()}
    n_samples = len(samples["sample"])
    columns = {name: array.ravel() for name, array in values.items()}
    return pd.DataFrame({**labels, level: np.tile(places, n_samples), **columns})
