"""Warnings of spectra that cannot be what they are taken for, by their energies.

The profile in energy of one-phonon scattering is about that of the density of states
over E, which costs a few small diagonalisations. Measured maps of aluminium and silicon
agree with it (correlations of 0.68 to 0.97), and in no case on an axis in other units
(-0.74 to 0.11).
"""

import numpy as np

from skphonon._warnings import warn_user
from skphonon.instrument.grid import energy_edges
from skphonon.instrument.measurement import MeasurementWarning
from skphonon.instrument.resolution import bin_kernel, resolve_widths
from skphonon.physics.constants import MEV_PER_INVERSE_CM, MEV_PER_THZ
from skphonon.physics.force_constants import ForceConstantModel
from skphonon.physics.scattering import bose_occupation
from skphonon.physics.zone import ZoneMesh, resolving_points

__all__ = ["warn_of_elastic_line", "warn_of_energies", "warn_of_window"]

_MESH = 6  # points along each axis of the zone
_FEW = 0.01  # share of the phonons that a window should hold at least
_WIDTHS = 3  # of the resolution by which a line may lie outside
_UNLIKE, _LIKE = 0.3, 0.6  # correlations of energy profiles
_COVERED = 0.4  # of the band, by energies in another unit
_FEWEST = 15  # energies that a profile must have
_NEAREST = 8  # of so many energies one counts as near zero
_UNITS = {"THz": MEV_PER_THZ, "1/cm": MEV_PER_INVERSE_CM, "eV": 1e3, "ueV": 1e-3}
_SEVERAL = 6  # bands of one phonon that several reach
_NARROW = 2e-3  # of the highest energy: no window for phonons is narrower
_ELASTIC = 3.0  # times the inelastic intensity
_CLEAR = 4.0  # widths from zero at which an elastic line has ended


def warn_of_window(simulator) -> None:
    """Warn where next to none of the reference's phonons are in the window."""
    if not _known(simulator):
        return
    lines, shares = _lines(simulator)
    if not lines.size:
        return
    edges, rows = energy_edges(simulator.grid), simulator.grid.mask.any(axis=1)
    reach = _WIDTHS * resolve_widths(simulator.energy_resolution, edges).max()
    low, high = edges[:-1][rows].min(), edges[1:][rows].max()
    softest, highest = np.abs(lines).min(), lines.max()
    several = simulator._part("scattering").n_phonons not in (None, 1)
    if several and low > 0:
        if highest < high and low < _SEVERAL * highest:
            return  # several phonons reach beyond the band
    if high - low < _NARROW * highest and rows.sum() > 1:
        warn_user(
            f"The window is {high - low:.2g} meV wide, but phonons of the reference "
            f"reach {highest:.4g} meV. Check the energies (in meV, not eV).",
            MeasurementWarning,
        )
        return
    if low - reach < softest and high + reach > -softest:
        return  # sound, of which a mesh has little
    seen = (lines > low - reach) & (lines < high + reach)
    # modes count alike, but for those that the cold does not let give their energy
    excited = np.minimum(np.abs(_occupied(simulator, lines)), 1.0)
    if (shares * excited)[seen].sum() < _FEW * shares.sum() / 2:
        warn_user(
            f"Less than {_FEW:.0%} of the phonons of the reference lie in the window, "
            f"{low:.4g} to {high:.4g} meV; they reach {lines.max():.4g} meV. Check the "
            "energies (in meV, not THz or 1/cm; positive where neutrons lose energy), "
            "the incident energy, the model and its constants.",
            MeasurementWarning,
        )


def warn_of_elastic_line(simulator, measurement) -> None:
    """Warn where the window holds an elastic line, which no simulator has."""
    if not _known(simulator):
        return
    grid = simulator.grid
    images = np.where(grid.mask, grid.to_image(measurement.data), np.nan)
    profile = _mean(_mean(images, axis=0), axis=1)
    edges = energy_edges(grid)
    energy = (edges[1:] + edges[:-1]) / 2
    width = float(
        np.interp(0.0, edges, resolve_widths(simulator.energy_resolution, edges))
    )
    seen = np.isfinite(profile)
    near = seen & (np.abs(energy) <= np.maximum(width, np.diff(edges)))
    beyond = seen & (np.abs(energy) >= _CLEAR * width)
    if not near.any() or beyond.sum() < _FEWEST:
        return
    if profile[near].max() > _ELASTIC * np.abs(profile[beyond]).max():
        warn_user(
            f"The energies, {edges[0]:.4g} to {edges[-1]:.4g} meV, hold the elastic "
            "line, which is not simulated: a fit would describe it by phonons. Leave "
            f"out energies below about {_CLEAR * width:.2g} meV.",
            MeasurementWarning,
        )


def warn_of_energies(simulator, measurement) -> None:
    """Warn where energies look like those of another unit, or images transposed."""
    grid = simulator.grid
    if not (_known(simulator) and simulator._of_a_powder):
        return
    images = np.where(grid.mask, grid.to_image(measurement.data), np.nan)
    image = _mean(images, axis=0)
    lines, shares = _lines(simulator)
    weights = shares * _occupied(simulator, lines) / np.abs(lines)
    edges = energy_edges(grid)
    widths = resolve_widths(simulator.energy_resolution, edges)

    def likeness(image, factor=1.0):
        sigma = factor * np.interp(lines, factor * edges, widths)
        expected = bin_kernel(factor * edges, lines, sigma) @ weights
        if not np.abs(expected).max() > _FEW * np.abs(weights).sum() / np.ptp(lines):
            return 0.0  # there is nothing to be like
        return _correlation(_mean(image, axis=1), expected)

    if _falls_from_zero(_mean(image, axis=1), edges):
        return  # an elastic line, its tail or a background: energies say nothing
    if not likeness(image) < _UNLIKE:
        return
    gained = weights[(lines > edges[0]) & (lines < edges[-1])].sum()
    lost = weights[(lines > -edges[-1]) & (lines < -edges[0])].sum()
    if edges[-1] <= 0 and np.abs(gained) < _FEW * np.abs(lost):
        warn_user(
            "At this temperature next to no neutron gains energy, but all energies "
            "are negative. They are positive where neutrons lose energy: turn the axis "
            "round.",
            MeasurementWarning,
        )
        return
    for unit, factor in _UNITS.items():
        low, high = np.clip(factor * edges[[0, -1]], -lines.max(), lines.max())
        covers = high - low > _COVERED * lines.max()
        if covers and likeness(image, factor) > _LIKE:
            warn_user(
                f"The energies look like {unit}: in meV the measurement is unlike the "
                f"reference. Convert the axis (1 {unit} is {factor:.5g} meV), or check "
                "the model.",
                MeasurementWarning,
            )
            return
    if image.shape[0] == image.shape[1] and likeness(image.T) > _LIKE:
        warn_user(
            "The images look transposed: rows are energies, columns are |Q|. Turn them "
            "with images.swapaxes(-1, -2) before grid.to_rows.",
            MeasurementWarning,
        )


def _known(simulator):
    model = simulator.model
    return isinstance(model, ForceConstantModel) and model.reference is not None


def _lines(simulator):
    """Return energies of modes, of both signs, and their shares of the zone."""
    model = simulator.model
    wavevectors, shares = resolving_points(model, ZoneMesh(_MESH))
    matrices = model.dynamical_matrices([simulator.reference], wavevectors)[0]
    squares = np.linalg.eigvalsh(matrices)
    shares = np.broadcast_to(shares[:, None], squares.shape)[squares > 0]
    energies = np.sqrt(squares[squares > 0])
    return np.concatenate([energies, -energies]), np.tile(shares, 2)


def _occupied(simulator, lines):
    """Return the strength of a mode at E: n + 1, n, or the sign for chi."""
    if simulator.quantity == "chi":
        return np.sign(lines)
    return np.abs(bose_occupation(-lines, simulator.temperature))


def _falls_from_zero(profile, edges):
    """Tell whether intensity is largest at the energies nearest to zero."""
    distances = np.abs(edges[1:] + edges[:-1]) / 2
    distances = np.where(np.isfinite(profile), distances, np.inf)
    nearest = np.argsort(distances)[: max(len(profile) // _NEAREST, 1)]
    return np.nanmax(np.abs(profile)) <= np.nanmax(np.abs(profile[nearest]))


def _mean(values, axis):
    """Return the mean of what is finite, NaN where nothing is."""
    seen = np.isfinite(values)
    n_seen = seen.sum(axis=axis)
    return np.where(seen, values, 0.0).sum(axis=axis) / np.where(n_seen, n_seen, np.nan)


def _correlation(first, second):
    """Return Pearson's correlation of finite pairs, 0 where one is constant."""
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < _FEWEST:
        return 0.0
    first, second = (
        profile[both] - profile[both].mean() for profile in (first, second)
    )
    sizes = np.abs(first).max(), np.abs(second).max()
    if min(sizes) == 0:
        return 0.0
    first, second = first / sizes[0], second / sizes[1]
    return float(first @ second / np.sqrt((first @ first) * (second @ second)))
