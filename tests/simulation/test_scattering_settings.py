"""What is simulated of the scattering: one object, shortcuts, old spellings."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

from skphonon import (
    Measurement,
    PowderSimulator,
    SpectrumGrid,
    load_aluminium_model,
    load_model,
    save_model,
)
from skphonon.simulation import Scattering

GRID = SpectrumGrid(np.arange(9.0, 90.0, 4.0), np.array([2.0, 3.0, 4.5]))
BEFORE = {
    "incoherent": False, "n_phonons": 1, "scattering_lengths": None,
    "memory": 1000.0, "n_jobs": None,
}  # fmt: skip
LENGTHS = {"Al": (3.4, 1.0)}


def powder(**settings):
    return PowderSimulator(
        load_aluminium_model(), GRID, energy_resolution=1.5, mesh=4, **settings
    )


def spectrum(simulator):
    return simulator.simulate([simulator.reference])


@pytest.mark.parametrize(
    ("name", "stands_for"),
    [
        (None, Scattering()),
        (None, Scattering(n_phonons=1)),
        ("coherent", Scattering(n_phonons=1)),
        ("total", Scattering(incoherent=True, n_phonons="auto")),
    ],
)
def test_shortcuts_stand_for_what_they_say(name, stands_for):
    found = spectrum(powder(scattering=name))
    assert_array_equal(found, spectrum(powder(scattering=stands_for)))


def test_a_value_within_is_set_from_the_shortcut():
    simulator = powder()
    assert simulator.get_params()["scattering__n_phonons"] is None
    simulator.set_params(scattering__incoherent=True)
    assert repr(simulator.scattering) == "Scattering(incoherent=True)"
    simulator.set_params(scattering="total", scattering__n_phonons=2)
    assert repr(simulator.scattering) == "Scattering(incoherent=True, n_phonons=2)"
    other = clone(simulator).set_params(scattering__n_phonons=3)
    assert simulator.scattering.n_phonons == 2
    assert not np.array_equal(spectrum(other), spectrum(simulator))


def test_a_measurement_shows_several_phonons_unless_it_is_told_otherwise():
    row = spectrum(powder(scattering="total"))[0]
    measured = Measurement(
        row, GRID, quantity="chi", temperature=300.0, energy_resolution=1.5
    )

    def number(**settings):
        made = PowderSimulator.from_measurement(
            load_aluminium_model(), measured, mesh=4, **settings
        )
        return made.get_params()["scattering__n_phonons"]

    given = Scattering(incoherent=True)
    assert number() == number(scattering=given) == number(scattering="total") == "auto"
    assert given.n_phonons is None  # that of the caller is left as it is
    assert number(scattering="coherent") == 1
    assert number(scattering=Scattering(n_phonons=3)) == 3


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("incoherent", r"scattering=Scattering\(incoherent=.*scattering__incoherent"),
        ("n_phonons", r"scattering=Scattering\(n_phonons=.*scattering__n_phonons"),
        ("scattering_lengths", r"scattering=Scattering\(scattering_lengths="),
        ("memory", r"sklearn.config_context\(working_memory="),
        ("n_jobs", r"joblib.parallel_config\(n_jobs="),
    ],
)
def test_an_old_keyword_tells_the_new_one(name, new):
    message = f"PowderSimulator has no {name} any more: .*{new}"
    with pytest.raises(TypeError, match=message):
        powder(**{name: BEFORE[name]})
    with pytest.raises(ValueError, match=message):
        powder().set_params(**{name: BEFORE[name]})


@pytest.mark.parametrize(
    ("old", "now"),
    [
        ({}, None),
        ({"n_phonons": "auto"}, Scattering(n_phonons="auto")),
        (
            {"n_phonons": 2, "incoherent": True, "scattering_lengths": LENGTHS},
            Scattering(n_phonons=2, incoherent=True, scattering_lengths=LENGTHS),
        ),
    ],
    ids=str,
)
def test_old_pickles_load(old, now):
    simulator = powder(scattering=now)
    before = copy.copy(simulator)
    del before.scattering
    vars(before).update({**BEFORE, **old})
    loaded = pickle.loads(pickle.dumps(before))
    assert repr(loaded) == repr(simulator)
    assert vars(loaded).keys() == vars(simulator).keys()
    assert_array_equal(spectrum(loaded), spectrum(simulator))


def test_model_files_hold_it(tmp_path):
    simulator = powder(scattering=Scattering(n_phonons=2, scattering_lengths=LENGTHS))
    save_model(simulator, tmp_path / "simulator.skops")
    loaded = load_model(tmp_path / "simulator.skops")
    assert_array_equal(spectrum(loaded), spectrum(simulator))
