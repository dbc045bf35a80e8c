"""Everything of a powder average that does not depend on the parameters, built once."""

import warnings
from functools import cache

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skphonon.physics.bond_waves import bond_waves
from skphonon.simulation._incoherent import Incoherent
from skphonon.simulation._nuisance import NAMES
from skphonon.simulation._phonon_plan import (
    background,
    cross_sections,
    dipole_term,
    line_axis,
    real_amplitudes,
    tensors,
    zone_mesh,
)
from skphonon.simulation._powder_conditions import (
    conditions,
    energy_kernel,
    smooth_kernel,
)
from skphonon.simulation._powder_engine import Plan, bands, distances
from skphonon.simulation.quadrature import (
    independent_directions,
    radial_samples,
)
from skphonon.simulation.resolution import (
    bin_kernel,
)

__all__ = ["make_plan", "settled_plan"]

_FEWEST_DIRECTIONS = 1000  # over the sphere, however small |Q| is
_FIRST_TRY, _LAST_TRY = 2000, 300_000  # directions, where a tolerance decides
_OTHER_TURN = 10_000  # number of another set of directions, equally good
_COARSE_MESH, _FINE_MESH = 20.0, 60.0  # Angstrom: reach of the mesh of the zone


def settled_plan(simulator, ranges) -> Plan:
    """Return a plan with the directions asked for, or as many as the tolerance needs.

    Parameters
    ----------
    simulator : PowderSimulator
        With checked settings.
    ranges : ndarray of shape (2, n_nuisances)
        As from `nuisance_ranges`.

    Returns
    -------
    Plan
        Warns with ConvergenceWarning where the tolerance is out of reach.
    """
    if simulator.n_directions is not None:
        return make_plan(simulator, simulator.n_directions, ranges)
    n_directions, reference = _FIRST_TRY, simulator.reference[None]
    plain = (ranges == simulator.nuisance_reference).all()
    middle = None if plain else ranges.mean(axis=0, keepdims=True)
    while True:
        plan = make_plan(simulator, n_directions, ranges)
        other = make_plan(simulator, n_directions, ranges, other=True)
        # two averages of equal quality differ by twice the error of each
        error = distances(other, plan, reference, middle)[0] / 2
        if not error > simulator.tolerance:
            return plan
        if n_directions >= _LAST_TRY:
            break
        growth = np.clip(1.1 * (error / simulator.tolerance) ** 0.5, 1.3, 8.0)
        n_directions = min(int(n_directions * growth), _LAST_TRY)
    warnings.warn(
        f"{n_directions} directions do not reach tolerance={simulator.tolerance:g}: "
        f"the error is {error:.1g}. Raise the tolerance, give the simulator the "
        "resolution of the instrument, or leave the elastic line (and two or three "
        "widths of the resolution around it) out of the mask of the grid.",
        ConvergenceWarning,
        stacklevel=5,
    )
    return plan


def make_plan(simulator, n_directions: int, ranges, *, other: bool = False) -> Plan:
    """Build a plan.

    Parameters
    ----------
    simulator : PowderSimulator
        With checked settings.
    n_directions : int
        Directions over the whole sphere at the largest modulus.
    ranges : ndarray of shape (2, n_nuisances)
        What the samples of moduli and the axis of energies shall serve.
    other : bool, default=False
        Whether to sample other directions and moduli, which are as good.

    Returns
    -------
    Plan
        On the device of the simulator.
    """
    model, grid = simulator.model, simulator.grid
    to = tensors(simulator)
    energy_edges, q_edges = grid.edges()
    sigma, mask = simulator.q_resolution, grid.mask
    offset, turn = (0.0, _OTHER_TURN) if other else (0.5, 0)
    low, high = (dict(zip(NAMES, row, strict=True)) for row in ranges)
    radii, step = radial_samples(
        q_edges,
        mask,
        low["q_resolution"],
        offset,
        widest=high["q_resolution"],
        scales=(low["lattice_scale"], high["lattice_scale"]),
    )
    directions = _directions(model.point_group(), n_directions, radii, turn)
    sizes = [len(d) for d in directions]
    q_vectors = np.concatenate(directions) * np.repeat(radii, sizes)[:, None]
    axis = line_axis(simulator, energy_edges, low, high)
    lengths, by_order = cross_sections(
        simulator, simulator.incoherent, simulator.n_phonons
    )
    q_kernel = bin_kernel(q_edges, radii, sigma) * step
    return Plan(
        ranges=ranges,
        mask=mask.ravel(),
        parameter_names=model.parameter_names,
        n_directions=n_directions,
        radii=to.real(radii),
        q_vectors=to.real(np.ascontiguousarray(q_vectors.T)),
        shares=to.real(np.repeat(1 / np.array(sizes), sizes)),
        shells=to.index(np.repeat(np.arange(len(radii)), sizes)),
        waves=bond_waves(model, to.device, to.dtype),
        offset=dipole_term(model, q_vectors, to),
        amplitudes=to.real(real_amplitudes(lengths, model.inversion_partners())),
        axis=axis,
        bands=bands(q_kernel),
        q_kernel=to.real(q_kernel),
        energy_kernel=to.real(energy_kernel(simulator, axis, bin_kernel)),
        mesh=zone_mesh(simulator, to, _reach(simulator)),
        temperature=simulator.temperature,
        displacement=simulator.mean_square_displacement,
        incoherent=_incoherent(simulator, axis, by_order, to),
        background=background(simulator, grid.axes(), to),
        conditions=lambda table: conditions(simulator, axis, radii, step, table, to),
    )


def _reach(simulator):
    smooth = simulator.incoherent or simulator.n_phonons > 1
    return _FINE_MESH if smooth else _COARSE_MESH


def _directions(group, n_directions, radii, turn):
    counts = n_directions * (radii / radii[-1]) ** 2
    return [
        independent_directions(group, max(int(count), _FEWEST_DIRECTIONS), turn + shell)
        for shell, count in enumerate(counts)
    ]


def _incoherent(simulator, axis, cross_sections, to):
    if not simulator.incoherent and simulator.n_phonons == 1:
        return None

    @cache
    def recorded(n_points):
        return to.real(smooth_kernel(simulator, n_points, axis, bin_kernel))

    return Incoherent(
        cross_sections=to.real(cross_sections),
        axis=axis,
        temperature=simulator.temperature,
        kernel=recorded,
    )
