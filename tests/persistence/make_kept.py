"""Write one small file of each class that model files may hold, and what it answers.

``python tests/persistence/make_kept.py`` writes the folder ``kept/VERSION`` beside it,
for the version that is installed; ``--overwrite`` replaces what is there. Files of the
versions before are left alone: a test loads all of them from now on.
"""

import argparse
import shutil
import sys
import warnings
from functools import cache
from pathlib import Path

import numpy as np
from sklearn.frozen import FrozenEstimator

import skphonon
from skphonon import calibration, instrument, inversion, learning, physics, simulation
from skphonon.datasets import load_aluminium_model, load_la2nio4_model
from skphonon.persistence import attach_card, save_model
from skphonon.preprocessing import MaskedSpectrumPreprocessor

KEPT = Path(__file__).parent / "kept"
VERSION = ".".join(skphonon.__version__.split(".")[:2])


@cache
def spectra():
    """Parameters, and spectra that show them."""
    rng = np.random.default_rng(0)
    y = rng.uniform(0.5, 1.5, size=(40, 2))
    return y @ rng.normal(size=(2, 12)) + 3.0, y


@cache
def pixels():
    """Places with parameters, and intensities there."""
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(60, 2))
    return X, np.exp(X[:, 0] * X[:, 1])


def small(estimator, **settings):
    """Set what the estimator has by these names, wherever it keeps them."""
    known = estimator.get_params(deep=True)
    for name, value in settings.items():
        places = [k for k in known if k == name or k.endswith(f"__{name}")]
        estimator.set_params(**{places[0]: value})
    return estimator


def trained(estimator, X=None, y=None, **settings):
    """Train an estimator for a moment; return it with some of what it is asked."""
    X, y = spectra() if X is None else (X, y)
    small(estimator, max_epochs=2, random_state=0, **settings).fit(X, y)
    return attach_card(estimator, X=X, y=y), X[:5]


def fitted(estimator, X=None, y=None):
    X, y = spectra() if X is None else (X, y)
    return attach_card(estimator.fit(X, y), X=X, y=y), X[:2]


def grid():
    return instrument.SpectrumGrid(
        np.arange(10.0, 40, 10), [2.0, 3.0], incident_energy=60.0
    )


def crystal_grid():
    return instrument.CrystalGrid(
        [20.0, 30.0], [1.0, 2.0], [0.0, 0.5], 0.0, lattice=4.04 * np.eye(3)
    )


def path_grid():
    return instrument.PathGrid([60.0, 90.0], [[0.5, 0, 0], [0.5, 0.25, 0]])


def measured():
    return instrument.Measurement(
        np.arange(6.0), grid(), quantity="sqe", temperature=300.0
    )


def powder(**settings):
    return simulation.PowderSimulator(
        load_aluminium_model(), grid(), energy_resolution=1.5, mesh=4, **settings
    )


def simulator(made):
    return made, np.array([made.reference, 1.02 * np.asarray(made.reference)])


def of_aluminium(kind, *args):
    """Return something that is known of aluminium, with constants to ask it about."""
    model = load_aluminium_model()
    return kind(model, *args), 1.02 * model.reference


def calibrated():
    X, y = spectra()
    regressor = learning.ForceConstantRegressor((4,))
    model, _ = trained(regressor, X[:20], y[:20])
    return fitted(calibration.CalibratedRegressor(FrozenEstimator(model)))


MODELS = {
    "AEFeatureExtractor": lambda: trained(
        learning.AEFeatureExtractor(2), hidden_size=4
    ),
    "AngleGrid": lambda: (
        instrument.AngleGrid([0.0, 20.0], [30.0, 60.0], incident_energy=50.0),
        None,
    ),
    "Augmentation": lambda: (learning.Augmentation(n_views=3), None),
    "CalibratedRegressor": calibrated,
    "Convolutional": lambda: (learning.Convolutional(grid(), filters=(2,)), None),
    "CrystalGrid": lambda: (crystal_grid(), None),
    "Dense": lambda: (learning.Dense(7, residual=True), None),
    "ElasticConstants": lambda: of_aluminium(
        inversion.ElasticConstants, {"C11": (107.0, 2.0)}
    ),
    "ElasticTail": lambda: (simulation.ElasticTail(2.0), None),
    "ForceConstantModel": lambda: (
        load_aluminium_model(),
        np.array([[0.5, 0.5, 0], [0.1, 0, 0]]),
    ),
    "ForceConstantRegressor": lambda: trained(learning.ForceConstantRegressor((4,))),
    "HeatCapacity": lambda: of_aluminium(
        inversion.HeatCapacity, [100.0, 200.0], [13.0, 21.4], 0.2
    ),
    "ImplicitSpectrumModel": lambda: trained(
        learning.ImplicitSpectrumModel((4,), n_parameters=1), *pixels()
    ),
    "JointSimulator": lambda: simulator(
        simulation.JointSimulator(
            {"50 K": powder(temperature=50.0), "640 K": powder(temperature=640.0)}
        )
    ),
    "LeastSquaresInverter": lambda: fitted(inversion.LeastSquaresInverter()),
    "MaskedSpectrumPreprocessor": lambda: fitted(MaskedSpectrumPreprocessor()),
    "MeanSquareDisplacement": lambda: of_aluminium(
        inversion.MeanSquareDisplacement, 300.0, 0.0102, 0.0003
    ),
    "Measurement": lambda: (measured(), None),
    "MultipleScattering": lambda: (simulation.MultipleScattering(), None),
    "NelderMeadInverter": lambda: fitted(inversion.NelderMeadInverter()),
    "Noise": lambda: (inversion.Noise(loss="soft_l1"), None),
    "NoveltyDetector": lambda: trained(
        learning.NoveltyDetector(learning.VAEFeatureExtractor(2)), hidden_size=4
    ),
    "PathGrid": lambda: (path_grid(), None),
    "PhononEnergies": lambda: of_aluminium(
        inversion.PhononEnergies, [[0.5, 0.5, 0.0]], [24.0], 0.2
    ),
    "PixelInverter": lambda: fitted(inversion.PixelInverter(random_state=0), *pixels()),
    "PolynomialResolution": lambda: (
        instrument.PolynomialResolution([1.5, -0.02]),
        np.array([0.0, 25.0]),
    ),
    "PosteriorInference": lambda: (learning.PosteriorInference(floor=0.2), None),
    "PosteriorInverter": lambda: fitted(inversion.PosteriorInverter()),
    "PowderSimulator": lambda: simulator(powder()),
    "QResolution": lambda: (instrument.QResolution(0.02, samples=5), None),
    "Reduction": lambda: (physics.Reduction(["both"], 2, [[0, 0, 1.0]]), None),
    "Scattering": lambda: (simulation.Scattering(incoherent=True), None),
    "Search": lambda: (inversion.Search(n_starts=3), None),
    "ShellPrior": lambda: of_aluminium(physics.ShellPrior),
    "SingleCrystalSimulator": lambda: simulator(
        simulation.SingleCrystalSimulator(
            load_aluminium_model(), crystal_grid(), energy_resolution=5.0
        )
    ),
    "SoundVelocities": lambda: of_aluminium(
        inversion.SoundVelocities, [[1, 0, 0]], [2], [6400.0], 100.0
    ),
    "SpectrumGrid": lambda: (grid(), None),
    "SpectrumRegressor": lambda: trained(
        # of one scale, these spectra have one component; more would be rounding
        learning.SpectrumRegressor(1),
        n_networks=2,
        hidden_sizes=(4,),
    ),
    "SpinWaveModel": lambda: (load_la2nio4_model(), np.array([[0.5, 0.25, 0]])),
    "SpinWaveSimulator": lambda: simulator(
        simulation.SpinWaveSimulator(
            load_la2nio4_model(), path_grid(), energy_resolution=4.0
        )
    ),
    "TabulatedResolution": lambda: (
        instrument.TabulatedResolution([0.0, 10.0], [1.5, 1.2]),
        np.array([0.0, 5.0]),
    ),
    "Trainer": lambda: (learning.Trainer(lr=0.01, max_epochs=3), None),
    "VAEFeatureExtractor": lambda: trained(
        learning.VAEFeatureExtractor(2), hidden_size=4
    ),
}

_ASKED = {
    "Augmentation": lambda model, X: model.n_views,
    "Convolutional": lambda model, X: model.filters,
    "Dense": lambda model, X: [model.hidden_size, model.residual],
    "Noise": lambda model, X: len(model.get_params()),
    "NoveltyDetector": lambda model, X: model.score_samples(X),
    "QResolution": lambda model, X: [model.width, model.samples],
    "Scattering": lambda model, X: model.incoherent,
    "Search": lambda model, X: model.n_starts,
    "PosteriorInference": lambda model, X: model.floor,
    "Trainer": lambda model, X: [model.lr, model.max_epochs],
    "ElasticTail": lambda model, X: model.width,
    "MultipleScattering": lambda model, X: len(model.get_params()),
    "Measurement": lambda model, X: model.data,
    "Reduction": lambda model, X: model.matrix.toarray(),
    "ForceConstantModel": lambda model, X: model.frequencies(model.reference, X),
    "SpinWaveModel": lambda model, X: model.modes(model.reference, X)[0],
    "ShellPrior": lambda model, X: model.covariance_,
}


def answer(model, X):
    """Return what a model makes of its input."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fits to data that are none
        if ask := _ASKED.get(type(model).__name__):
            return np.asarray(ask(model, X))
        if hasattr(model, "axes"):
            return np.concatenate([*map(np.ravel, model.axes()), model.mask.ravel()])
        if hasattr(model, "residuals"):
            return model.residuals(X)[0]
        names = ("transform", "predict", "simulate", "__call__")
        return getattr(model, next(n for n in names if hasattr(model, n)))(X)


def made(name):
    """Return a small model and what it is asked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of trainings that are too short
        return MODELS[name]()


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--overwrite", action="store_true")
    folder = KEPT / VERSION
    if folder.exists():
        if not parser.parse_args(arguments).overwrite:
            sys.exit(f"{folder} is there already: files of a version do not change.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for name in MODELS:
        model, X = made(name)
        save_model(model, folder / f"{name}.skops")
        given = {} if X is None else {"X": X}
        np.savez_compressed(folder / f"{name}.npz", **given, found=answer(model, X))


if __name__ == "__main__":
    main()
