"""Linear spin waves against closed forms, identities, sum rules and another code."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skphonon import SpinWaveModel
from skphonon.datasets import load_la2nio4_model
from skphonon.physics.magnon_modes import magnons

CUBE = np.eye(3) * 4.0
TALL = np.diag([4.0, 9.0, 9.0])  # of chains
GENERIC = np.random.default_rng(0).random((40, 3))


def chain(spins=(1,), exchanges=None, reference=(-1.5,), **options):
    return SpinWaveModel(
        TALL, list(spins), exchanges or {"J": 4.0}, list(reference), **options
    )


def square(**options):
    """Square antiferromagnet of spin 1 without form factor or favoured direction."""
    settings = {"ions": None, "axis": None, "renormalization": 1.0} | options
    return load_la2nio4_model().replace(**settings)


def square_terms(parameters, q):
    """A and B of the square antiferromagnet of spin 1, as in its description."""
    j, k = parameters
    x, y = np.cos(2 * np.pi * q[:, 0]), np.cos(2 * np.pi * q[:, 1])
    return 4 * (j - k * (1 - x * y)), 2 * j * (x + y)


@pytest.mark.parametrize("parameters", [(29.0, 1.67), (30.0, -12.0), (2.0, 0.0)])
def test_square_antiferromagnet_is_the_closed_form(parameters):
    energies, intensities = square().modes([parameters], GENERIC)
    a, b = square_terms(parameters, GENERIC)
    both = np.sqrt(a**2 - b**2)[:, None] * np.ones(2)
    assert_allclose(energies[0], both, rtol=1e-9)
    # S_xx = S_yy = S/2 ((A - B) / (A + B))^1/2 a spin; 4/3 of it perpendicular to Q
    structure = 4 / 3 * np.sqrt((a - b) / (a + b)) / 2
    assert_allclose(intensities[0].sum(axis=1), structure, rtol=1e-9)


def test_la2nio4_is_renormalised_and_weighs_its_ion():
    # published constants, maximum at (1/4, 1/4): 2 Zc (2 J - 2 J')
    model = load_la2nio4_model()
    energies, _ = model.modes([model.reference], [[0.25, 0.25, 0]])
    assert_allclose(energies, 4 * 1.083 * (29.0 - 1.67))


def test_ferromagnetic_chain_is_the_closed_form():
    model = chain([1.5], reference=[-1.3, 0.4], anisotropies={"D": [0]}, axis=[1, 0, 0])
    energies, intensities = model.modes([model.reference], GENERIC)
    gap = (2 * 1.5 - 1) * 0.4
    expected = 2 * 1.5 * 1.3 * (1 - np.cos(2 * np.pi * GENERIC[:, 0])) + gap
    assert_allclose(energies[0, :, 0], expected)
    # a ferromagnet scatters S/2 (1 + cos^2) everywhere
    q = GENERIC / np.diag(TALL)
    cosine = q[:, 0] / np.linalg.norm(q, axis=1)
    assert_allclose(intensities[0, :, 0], 0.75 * (1 + cosine**2))


def test_spin_one_half_has_no_anisotropy_of_its_own():
    model = chain([0.5], reference=[-1.0, 7.0], anisotropies={"D": [0]})
    energies, _ = model.modes([model.reference], [[0.5, 0, 0]])
    assert_allclose(energies, 2.0)


def test_ferrimagnetic_chain_is_the_closed_form():
    # alternating spins a half cell apart, J between all neighbours
    s1, s2, j = 2.5, 1.0, 0.7
    model = chain(
        [s1, -s2], {"J": 2.0}, [j], positions=[[0, 0, 0], [0.5, 0, 0]]
    )  # fmt: skip
    energies, _ = model.modes([[j]], GENERIC)
    sine = np.sin(np.pi * GENERIC[:, 0])
    root = np.sqrt((s1 - s2) ** 2 + 4 * s1 * s2 * sine**2)
    expected = j * np.stack([root - (s1 - s2), root + (s1 - s2)], axis=1)
    assert_allclose(energies[0], expected, rtol=1e-8)


def honeycomb(spins, reference):
    lattice = 5.0 * np.array([[1, 0, 0], [-0.5, 0.75**0.5, 0], [0, 0, 2]])
    positions = [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0]]
    return SpinWaveModel(
        lattice, spins, {"J": 5.0 / 3**0.5}, reference, positions=positions
    )


def test_honeycomb_is_the_closed_form():
    h, k, _ = 2 * np.pi * GENERIC.T
    # |sum of the phases of three bonds|, which differ by lattice vectors
    phases = np.abs(1 + np.exp(1j * h) + np.exp(-1j * k))
    ferro, _ = honeycomb([1, 1], [-1.0]).modes([[-2.0]], GENERIC)
    assert_allclose(ferro[0], 2.0 * np.stack([3 - phases, 3 + phases], axis=1))
    neel, _ = honeycomb([1, -1], [1.0]).modes([[2.0]], GENERIC)
    assert_allclose(
        neel[0], 2.0 * np.sqrt(9 - phases**2)[:, None] * np.ones(2), rtol=1e-9
    )


def test_goldstone_modes_have_no_energy_and_scatter_nothing():
    model = square()
    energies, intensities = model.modes(
        [[29.0, 1.67]], [[0, 0, 0], [0.5, 0.5, 0], [1.5, 0.5, 0.3]]
    )
    assert_allclose(energies, 0)
    assert_allclose(intensities, 0)
    near, strong = model.modes([[29.0, 1.67]], [[0.001, 0, 0], [0.501, 0.5, 0]])
    assert (near > 0.1).all()
    # by the zone centre nothing is left, by the Bragg peak it diverges
    assert strong[0, 0].sum() < 0.01
    assert strong[0, 1].sum() > 100


def test_anisotropy_opens_the_gap_of_an_antiferromagnet():
    # A = 4 S J + (2 S - 1) D and B = 4 S J at the zone centre
    model = square().replace(reference=[29, 0, 0.5], anisotropies={"D": [0, 1]})
    energies, _ = model.modes([[29.0, 0.0, 0.5]], [[0.5, 0.5, 0]])
    assert_allclose(energies, np.sqrt(116.5**2 - 116.0**2))


def test_transverse_moment_is_that_of_quantum_fluctuations():
    # <S_x^2 + S_y^2> = S + 2 S <n> with <n> = 0.1966 spin deviations of the square
    # antiferromagnet (Anderson, Phys. Rev. 86, 694 (1952), doi:10.1103/PhysRev.86.694)
    def moment(n):
        points = (np.arange(n) + 0.5) / n
        q = np.stack(np.meshgrid(points, points, [0.0]), axis=-1).reshape(-1, 3)
        _, intensities = square().modes([[1.0, 0.0]], q)
        return intensities[0].sum(axis=1).mean() * 3 / 2

    # the mean misses 1/q at the zone centres by an error that halves with the spacing
    coarse, fine = moment(64), moment(128)
    assert_allclose(2 * fine - coarse, 1 + 2 * 0.1966, atol=1e-4)


def test_modes_keep_the_commutator_and_the_energy():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20, 5, 5)) + 1j * rng.normal(size=(20, 5, 5))
    matrices = torch.as_tensor(x @ x.conj().swapaxes(1, 2) + 0.1 * np.eye(5))
    signs = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0], dtype=torch.float64)
    found = magnons(matrices, signs)
    rows = found.modes
    metric = rows.conj() @ torch.diag(signs).to(rows) @ rows.mT
    senses = torch.sign(found.frequencies)
    assert_allclose(metric, torch.diag_embed(senses).to(rows), atol=1e-9)
    energy = rows.conj() @ matrices @ rows.mT
    assert_allclose(
        energy, torch.diag_embed(found.frequencies.abs()).to(rows), atol=1e-8
    )
    # as many modes of each sense as spins of each direction, against numpy's solver
    assert_allclose(senses.sum(dim=1), 1)
    reference = np.linalg.eigvals(signs.numpy()[:, None] * matrices.numpy())
    assert_allclose(reference.imag, 0, atol=1e-8)
    assert_allclose(found.frequencies, np.sort(reference.real), atol=1e-8)


def test_sunny_has_the_same_intensities():
    # test "Dipole-dipole" of Sunny.jl (SunnySuite/Sunny.jl, test/test_lswt.jl), of a
    # ferromagnet of spin 1 along c, intensities perpendicular to Q, g = 1
    lattice = np.diag([10.0, 10.0, 1.0])
    model = SpinWaveModel(lattice, [1], {"J": 1.0}, [-1.0], axis=[0, 0, 1])
    q = [[0, 0, 0.5], [0, 0.5, 0.5]]
    _, intensities = model.modes([[-1.0]], q)
    assert_allclose(intensities[0, :, 0], [1, 201 / 202])


def test_magnopy_has_the_same_energy():
    # LSWT.omega(k=[0, 0, 0.5]) of magnopy.examples.cubic_ferro_nn(), in the example of
    # its documentation: 2 meV, of S = 1/2 and -1 meV a bond counted once
    model = SpinWaveModel(CUBE, [0.5], {"J": 4.0}, [-1.0])
    energies, _ = model.modes([[-1.0]], [[0, 0, 0.5]])
    assert_allclose(energies, 2.0)


def test_cell_is_a_matter_of_taste():
    small = load_la2nio4_model()
    large = small.replace(
        spins=[1, -1, 1, -1],
        positions=[[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]],
        magnetic_cell=2 * np.eye(3, dtype=int) - np.diag([0, 0, 1]),
    )
    energies, intensities = small.modes([[29.0, 5.0]], GENERIC)
    folded, shared = large.modes([[29.0, 5.0]], GENERIC)
    for i in range(len(GENERIC)):
        # the modes of the small cell carry all intensity
        seen = shared[0, i] > 1e-9
        assert_allclose(folded[0, i, seen], energies[0, i, 0])
    assert_allclose(shared.sum(axis=2), intensities.sum(axis=2))


def test_bonds_by_hand_are_bonds_by_length():
    found = square()
    given = square(
        exchanges={
            "J": [
                [0, 1, 0, 0, 0],
                [0, 1, -2, 0, 0],
                [0, 1, -1, 1, 0],
                [1, 0, 1, 1, 0],
            ],
            "J'": [
                [0, 0, 1, 1, 0],
                [0, 0, 1, -1, 0],
                [1, 1, 1, 1, 0],
                [1, 1, 1, -1, 0],
            ],
        }
    )
    assert_allclose(given.matrix_basis(GENERIC), found.matrix_basis(GENERIC))


def test_a_place_may_lie_in_another_cell():
    far = square(positions=[[0, 0, 0], [3, 2, 0]])
    assert_allclose(
        far.modes([[29.0, 1.67]], GENERIC)[0],
        square().modes([[29.0, 1.67]], GENERIC)[0],
    )


def test_polarisation_is_averaged_over_domains():
    q = [[0.3, 0.1, 0.0]]
    one, other, both = (
        load_la2nio4_model().replace(axis=axis).modes([[29.0, 1.67]], q)[1]
        for axis in ([1, 1, 0], [1, -1, 0], [[1, 1, 0], [1, -1, 0]])
    )
    assert_allclose(both, (one + other) / 2)
    assert_allclose(one / other, (1 + 0.8) / (1 + 0.2))  # cos^2 to (3, 1, 0)


def test_every_direction_is_the_mean_of_three():
    some = square(axis=np.eye(3)).modes([[29.0, 1.67]], GENERIC)[1]
    assert_allclose(some, square().modes([[29.0, 1.67]], GENERIC)[1])


def test_form_factors_are_of_each_ion():
    model = honeycomb([1, 1], [-1.0]).replace(ions=["Ni2+", "Mn2+"])
    q = 2 * np.pi * GENERIC @ np.linalg.inv(model.lattice).T
    size = np.linalg.norm(q, axis=1)
    from skphonon.physics.form_factors import magnetic_form_factor

    plain = model.replace(ions=None).amplitudes(GENERIC)
    expected = [magnetic_form_factor(ion, size) for ion in ("Ni2+", "Mn2+")]
    assert_allclose(model.amplitudes(GENERIC) / plain, np.transpose(expected))


def test_stability_is_told_where_neel_order_gives_way():
    # the square antiferromagnet is stable classically up to J' = J / 2
    model = square()
    told = model.is_stable([[29, 14.4], [29, 14.6], [29, -30], [-29, 0], [0, 0]])
    assert told.tolist() == [True, False, True, False, False]
    energies, intensities = model.modes([[29.0, 20.0]], [[0.5, 0.0, 0], [0.05, 0, 0]])
    assert np.isnan(energies[0, 0]).all()
    assert_allclose(intensities[0, 0], 0)


def test_stability_of_many_is_that_of_each():
    rows = np.random.default_rng(3).uniform([20, 0], [40, 30], (3000, 2))
    expected = rows[:, 1] < rows[:, 0] / 2
    assert_allclose(square().is_stable(rows), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spins": [1, 0]}, "not zero"),
        ({"spins": [1, -1, 1]}, "positions must have shape"),
        ({"exchanges": {"J": 1.0, "J'": 5.5}}, "'J' must be the distance"),
        ({"exchanges": {"J": [[0, 1, 1, 0, 0]]}}, "displaced by vectors of the mag"),
        ({"exchanges": {"J": [[0, 2, 0, 0, 0]]}}, "two of the spins 0 to 1"),
        ({"exchanges": {"J": [[0, 0, 0, 0, 0]]}}, "join two of the spins"),
        ({"exchanges": {"J": [[0, 1, 0, 0, 0]] * 2}}, "given once"),
        ({"exchanges": {"J": [[0, 0, 1, 1, 0], [0, 0, -1, -1, 0]]}}, "given once"),
        ({"exchanges": {"J": [[0, 1]]}}, "whole numbers in rows"),
        ({"magnetic_cell": [[1, 1, 0], [1, 1, 0], [0, 0, 1]]}, "three independent"),
        ({"lattice": np.ones((3, 3))}, "lattice must hold"),
        ({"axis": [0, 0, 0]}, "axis must hold"),
        ({"ions": ["Ni2+"]}, "ions must name 2"),
        ({"ions": "Ni9+"}, "no magnetic form factor"),
        ({"anisotropies": {"D": [2]}, "reference": [1, 1, 1]}, "act on spins 0 to 1"),
        ({"renormalization": 0.0}, "renormalization"),
    ],
)
def test_bad_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        square(**options).modes(np.ones((1, 2)), GENERIC)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="one column each of J, J'"):
        square().modes([[1.0]], GENERIC)
    with pytest.raises(ValueError, match="h, k and l in rows"):
        square().modes([[1.0, 0.0]], [[0.5, 0.5]])
    with pytest.raises(ValueError, match="finite"):
        square().modes([[1.0, 0.0]], [[0.5, np.nan, 0]])


def test_axes_of_dispersion():
    """Of a plane, a chain along an edge and a chain askew."""
    axes = load_la2nio4_model().dispersive_axes()
    assert axes.shape == (2, 3)
    assert_allclose(axes @ axes.T, np.eye(2), atol=1e-12)
    assert_allclose(axes[:, 2], 0, atol=1e-12)
    askew = SpinWaveModel(
        np.diag([3.0, 4.0, 9.0]), [1], {"J": [[0, 0, 1, 1, 0]]}, [-1.0]
    )
    assert_allclose(np.abs(askew.dispersive_axes()), [[0.6, 0.8, 0.0]])
