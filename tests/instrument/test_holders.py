import numpy as np
import pytest
from numpy.testing import assert_allclose

from skphonon.instrument.holders import HOLDERS, holder_model
from skphonon.physics.elasticity import elastic_constants


@pytest.mark.parametrize(
    ("name", "stiffness"),  # GPa at 300 K, by ultrasound
    [("aluminium", (107.3, 60.9, 28.3)), ("copper", (168.4, 121.4, 75.4))],
)
def test_phonons_of_holders_have_the_measured_sound_velocities(name, stiffness):
    model = holder_model(name)
    found = elastic_constants(model, [model.reference])[0]
    assert_allclose(found[[0, 0, 3], [0, 1, 3]], stiffness, rtol=0.02)


def test_aluminium_has_the_measured_energies_at_the_zone_boundary():
    model = holder_model("aluminium")
    at_x, at_l = model.frequencies(model.reference, [[0.5, 0.5, 0], [0.5, 0.5, 0.5]])[0]
    # Stedman and Nilsson, Phys. Rev. 145, 492 (1966): 5.8 and 9.7 THz at X, 4.2 and 9.7
    assert_allclose(at_x, np.array([5.8, 5.8, 9.7]) * 4.1357, rtol=0.04)
    assert_allclose(at_l, np.array([4.2, 4.2, 9.7]) * 4.1357, rtol=0.04)


def test_a_material_without_known_phonons_is_told():
    with pytest.raises(ValueError, match="aluminium or copper, got 'vanadium'"):
        holder_model("vanadium")
    with pytest.raises(ValueError, match=r"got \['copper'\]"):
        holder_model(["copper"])
    assert "vanadium" in {each.name for each in HOLDERS}
