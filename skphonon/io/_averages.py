"""Weighted means of what detectors counted, with their errors and covariances.

A bin of a grid holds the mean of numbers x_j with weights w_j, of the detector bins
that lie in it or parts of them. Its variance is the sum of (w_j / sum w)^2 var(x_j),
and two bins that have parts of the same number x_j are correlated.
"""

from collections.abc import Iterable

import numpy as np
from scipy.sparse import csr_array, dia_array

from skphonon._warnings import warn_user
from skphonon.instrument.detectors import DetectorMeasurement
from skphonon.instrument.measurement import Measurement, MeasurementWarning
from skphonon.physics.scattering import final_energy

__all__ = [
    "WEIGHTS",
    "Runs",
    "Sums",
    "angular_spans",
    "averages",
    "detector_weights",
    "intensities",
]

WEIGHTS = ("solid_angle", "counting", "uniform")

_SAME_ENERGY = 0.01  # relative: files hold fits to monitors, run by run
_MOST = {"polar_width": 180.0, "azimuthal_width": 360.0}  # degrees
_ODD_WIDTHS = {
    "none": "without a width ({} of them) count as those of median width do",
    "wide": "wider than 360 degrees ({} of them) count as 360 degrees",
}
_HELD = 500_000  # shares that wait for their covariance


class Runs:
    """Runs of one incident energy, one after the other, and their common settings.

    `odd_widths` counts detectors without a width, and with one of more than a turn.
    """

    def __init__(self, measured):
        self._measured = measured
        self.incident_energies, self.sources = [], []
        names = ("temperature", "energy_resolution", "units", "quantity")
        self._told: dict[str, set] = {name: set() for name in names}
        self._calibrations: list = []
        self._without_errors = 0
        self.odd_widths: dict[str, int] = {}

    def __iter__(self):
        for run in self.checked():
            self.incident_energies.append(run.incident_energy)
            first = self.incident_energies[0]
            if abs(run.incident_energy - first) > _SAME_ENERGY * first:
                raise ValueError(
                    "Runs to be averaged must have one incident energy, got "
                    f"{first:g} and {run.incident_energy:g} meV. Reduce each on its "
                    "own."
                )
            if run.error is None:
                self._without_errors += 1
            self.sources.append(run.source)
            self._calibrations.append(run.details.get("calibration") or {})
            for name, values in self._told.items():
                values.add(getattr(run, name))
            if "chi" in self._told["quantity"] and len(self._told["quantity"]) > 1:
                raise ValueError(
                    "Runs to be averaged must be of one quantity, got some of chi and "
                    "others not. Reduce each kind on its own, or set it: "
                    "run.replace(quantity=...)."
                )
            yield run
        self._warn_of_widths()
        number, several = self._without_errors, len(self.sources)
        if 0 < number < several:
            warn_user(
                f"{number} of {several} runs have no errors, and so have no pixels to "
                "which they add. Give them errors with replace, or leave them out.",
                MeasurementWarning,
            )

    def checked(self):
        """Yield the runs, each of which must be one of detectors."""
        several = self._measured
        if isinstance(several, Measurement) or not isinstance(several, Iterable):
            several = [several]
        for run in several:
            if not isinstance(run, DetectorMeasurement):
                raise TypeError(
                    "What is rebinned must be a DetectorMeasurement, as "
                    "skphonon.io.read_nxspe returns, or several; got "
                    f"{type(run).__name__}."
                )
            yield run

    @property
    def quantity(self):
        """What the intensities are in proportion to."""
        return "chi" if "chi" in self._told["quantity"] else "sqe"

    def require_some(self):
        """Refuse no runs at all."""
        if not self.sources:
            raise ValueError(
                "Some run must be given, a DetectorMeasurement or several, got none."
            )

    def common(self):
        """Return the settings of a measurement of all runs together."""
        told = {
            name: next(iter(values)) if len(values) == 1 else None
            for name, values in self._told.items()
        }
        told["quantity"] = self.quantity
        sources = [source for source in self.sources if source]
        more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
        return {**told, "source": f"{sources[0]}{more}" if sources else None}

    def calibration(self):
        """Return details of the calibration, by number of the run where it differs."""
        first = self._calibrations[0]
        if all(dict(each) == dict(first) for each in self._calibrations):
            return {"calibration": first} if first else {}
        numbered = enumerate(self._calibrations, 1)
        return {"calibrations": {str(number): each for number, each in numbered}}

    def _warn_of_widths(self):
        found = [_ODD_WIDTHS[key].format(n) for key, n in self.odd_widths.items()]
        if found:
            warn_user(
                f"Detectors {', and '.join(found)}: mend their widths with replace, or "
                "pass weights='uniform'.",
                MeasurementWarning,
            )


class Sums:
    """Sums of weights, weighted values and variances over the pixels of a grid."""

    def __init__(self, shape, covariance):
        self.weight, self.total, self.variance = np.zeros((3, *shape))
        self.covariance = None
        if covariance:
            self.covariance = csr_array((self.weight.size,) * 2)
        self._numbers = (np.empty(0),) * 3  # of the detectors: weight, value, variance
        # shares that wait for their covariance, and the variances they are of
        self._waiting: list[tuple] = []
        self._variances: list = []
        self._held = 0

    def begin(self, weight, value, variance):
        """Take what all detectors counted in a bin of energy, of weight 0 if nothing.

        Shares are of these numbers until the next ones.
        """
        if self._held > _HELD:
            self.settle()
        self._numbers = weight, value, variance
        if self.covariance is not None:
            self._variances.append(variance)

    def add(self, row, share, width):
        """Add the shares of detectors in the bins of one energy of the grid."""
        detector, column, part = share
        n_columns = self.weight.shape[1]
        weight = self._numbers[0][detector] * part * width
        use = (weight > 0) & (column >= 0) & (column < n_columns)
        detector, column, weight = detector[use], column[use], weight[use]
        value, variance = (each[detector] for each in self._numbers[1:])
        parts = weight, weight * value, weight**2 * variance
        sums = self.weight[row], self.total[row], self.variance[row]
        for total, values in zip(sums, parts, strict=True):
            if n_columns > len(column):  # few of many
                np.add.at(total, column, values)
            else:
                total += np.bincount(column, values, n_columns)
        if self.covariance is not None:
            number = (len(self._variances) - 1) * len(self._numbers[0]) + detector
            self._waiting.append((weight, row * n_columns + column, number))
            self._held += len(column)

    def settle(self):
        """Add the covariances of the shares that wait."""
        if self._waiting:
            weight, pixel, number = map(
                np.concatenate, zip(*self._waiting, strict=True)
            )
            variance = np.concatenate(self._variances)
            shape = self.weight.size, len(variance)
            shares = csr_array((weight, (pixel, number)), shape=shape)
            weighted = shares @ dia_array((variance[None], [0]), shape=(shape[1],) * 2)
            self.covariance = self.covariance + weighted @ shares.T
        self._waiting, self._variances, self._held = [], [], 0


def detector_weights(run, weights, odd_widths):
    """Return the weights of detectors, and count those of which the width is odd."""
    if weights not in WEIGHTS:
        raise ValueError(
            f"weights must be one of {', '.join(WEIGHTS)}, got {weights!r}."
        )
    if weights == "uniform":
        return np.ones(len(run.polar))
    if weights == "counting":
        return _neutrons_per_intensity(run)
    counting = np.isfinite(run.data).any(axis=1)
    widths = {}
    without, wide = np.zeros((2, len(run.polar)), dtype=bool)
    for name, most in _MOST.items():
        width = np.nan_to_num(getattr(run, name))
        known = width > 0
        if not known.any():
            raise ValueError(
                f"Detectors must span a solid angle, got {_seen(getattr(run, name))} "
                f"as {name} throughout. Pass weights='uniform'."
            )
        without |= ~known
        wide |= width > most
        width = np.where(known, width, np.median(width[known]))
        widths[name] = np.minimum(width, most)
    for key, odd in (("none", without), ("wide", wide)):
        if number := int((odd & counting).sum()):
            odd_widths[key] = odd_widths.get(key, 0) + number
    # cos(near) - cos(far): a part of a ring, or of a cap about the beam
    near, far = np.deg2rad(angular_spans(run.polar, widths["polar_width"]))
    ring = 2 * np.sin((far + near) / 2) * np.sin((far - near) / 2)
    return ring * np.deg2rad(widths["azimuthal_width"])


def _seen(width):
    """Tell widths that are none."""
    if np.isnan(width).all():
        return "NaN"
    return "0" if (np.nan_to_num(width) == 0).all() else "0, NaN or negative angles"


def angular_spans(polar, width):
    """Return the smallest and the largest scattering angle of detectors, in degrees.

    A negative angle is one on the other side, and none spans less than nothing.
    """
    half = np.maximum(np.nan_to_num(width), 0.0) / 2
    angle = np.abs(np.nan_to_num(polar))
    return np.clip(angle - half, 0, 180), np.clip(angle + half, 0, 180)


def _neutrons_per_intensity(run):
    """Return by how many neutrons each detector shows a unit of intensity.

    N counts make an intensity s N of variance s^2 N: their ratio is s, whatever was
    counted. It is that of the detector times that of the bin of energy. So the weight
    1/s makes a mean the sum of counts over that of exposures, and empty bins count.
    """
    error = np.full(run.data.shape, np.nan) if run.error is None else run.error
    use = np.isfinite(run.data) & (error > 0)
    value, variance = (np.where(use, each, 0.0) for each in (run.data, error**2))
    of_detector, of_energy = np.ones(len(value)), np.ones(value.shape[1])
    for _ in range(2):
        of_detector = _ratio(variance @ of_energy**-2, value @ (1 / of_energy))
        known = np.isfinite(of_detector)
        share = np.where(known, 1 / of_detector, 0.0)
        of_energy = np.nan_to_num(_ratio(share**2 @ variance, share @ value), nan=1.0)
    if not known.any():
        raise ValueError(
            "weights='counting' needs errors above 0 that tell what was counted, and "
            "positive intensities, got none. Pass weights='solid_angle'."
        )
    return 1 / np.where(known, of_detector, np.median(of_detector[known]))


def _ratio(numerator, denominator):
    known = (numerator > 0) & (denominator > 0)
    return np.where(known, numerator / np.where(known, denominator, 1.0), np.nan)


def intensities(run, number, weight):
    """Return weights of detectors, intensities as S(Q, E), and variances, at an energy.

    Weights are 0 where nothing was measured.
    """
    if run.ki_over_kf_scaling is None:
        raise ValueError(
            "It must be known whether intensities were multiplied by ki/kf, and the "
            "file does not say. Set it: run.replace(ki_over_kf_scaling=True) or False."
        )
    value, factor = run.data[:, number], 1.0
    seen = np.isfinite(value)
    error = np.full(len(value), np.nan) if run.error is None else run.error[:, number]
    # an error is NaN where nothing was counted, which adds none to that of a sum
    error = np.where(np.isnan(error) & (value == 0), 0.0, error)
    if not run.ki_over_kf_scaling:
        low, high = run.energy_edges[number : number + 2]
        # neutrons come from below the incident energy
        high = min(high, max(low, run.incident_energy))
        outgoing = final_energy((low + high) / 2, run.incident_energy)
        factor = np.sqrt(run.incident_energy / outgoing) if outgoing > 0 else np.nan
    return tuple(
        np.where(seen, each, 0.0)
        for each in (weight, value * factor, (error * factor) ** 2)
    )


def averages(sums, grid, runs, settings):
    """Return the measurement that has the means."""
    weight = sums.weight
    seen = weight > 0
    if not seen.any():
        raise ValueError(
            "Some of what was measured must fall on the grid, got none. Check the axes "
            "of the grid against the energies and angles of the detectors."
        )
    incident = np.mean(runs.incident_energies).item()
    of_grid = grid.incident_energy
    if of_grid is not None and abs(of_grid - incident) > _SAME_ENERGY * incident:
        warn_user(
            f"The grid must have the incident energy of the runs, {incident:g} meV, "
            f"got {of_grid:g} meV, which is not used. Check both.",
            MeasurementWarning,
        )
    grid = grid.replace(incident_energy=incident, mask=seen, **settings)
    safe = np.where(seen, weight, 1)
    errors = np.sqrt(sums.variance) / safe
    details = {"weights": grid.to_rows(weight), **runs.calibration()}
    if sums.covariance is not None:
        sums.settle()
        size = sums.covariance.shape
        inverse = dia_array((1 / safe.reshape(1, -1), [0]), shape=size)
        details["covariance"] = csr_array(inverse @ sums.covariance @ inverse)
    return Measurement(
        grid.to_rows(sums.total / safe),
        grid,
        error=grid.to_rows(np.where(errors > 0, errors, np.nan)),
        **runs.common(),
        details=details,
    )
