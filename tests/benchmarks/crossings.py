"""Count how often a call goes from one file of the package to another.

Run: python tests/benchmarks/crossings.py, with SKPHONON_DATA; to compare with another
checkout, run it with PYTHONPATH set to that folder. Prints, for each piece of work, the
files of the package that it runs through, the calls from one of them into another, and
the time of the piece of work without counting.
"""

import os
import sys
import threading
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from sklearn.pipeline import make_pipeline

import skphonon
from skphonon import (
    ForceConstantRegressor,
    LeastSquaresInverter,
    MaskedSpectrumPreprocessor,
    PowderSimulator,
    VAEFeatureExtractor,
    fetch_aluminium_arcs,
    load_aluminium_model,
    make_powder_spectra,
)
from skphonon.learning import Trainer

PACKAGE = str(Path(skphonon.__file__).parent)


class Counter:
    """Files that run, and calls from one to another, while it is entered."""

    def __enter__(self):
        self.files, self.crossings = set(), 0
        threading.setprofile(self._see)
        sys.setprofile(self._see)
        return self

    def __exit__(self, *details):
        sys.setprofile(None)
        threading.setprofile(None)

    def _see(self, frame, event, argument):
        if event != "call":
            return
        file = frame.f_code.co_filename
        if not file.startswith(PACKAGE):
            return
        self.files.add(file)
        caller = frame.f_back
        # through other packages, such as the wrappers of scikit-learn
        while caller is not None and not caller.f_code.co_filename.startswith(PACKAGE):
            caller = caller.f_back
        if caller is not None and caller.f_code.co_filename != file:
            self.crossings += 1


def make_simulator():
    """Return a new simulator of the first measured spectrum."""
    measured = fetch_aluminium_arcs().measurement
    model = load_aluminium_model()
    return PowderSimulator.from_measurement(model, measured[0]), measured


def look(name, work, prepare=lambda: None):
    """Print the files, crossings and time of a piece of work."""
    prepare()
    started = time.perf_counter()
    work()
    took = time.perf_counter() - started
    prepare()
    with Counter() as counter:
        work()
    print(
        f"{name:36} {len(counter.files):4} files {counter.crossings:7} crossings "
        f"{1000 * took:9.2f} ms"
    )


def main():
    """Look at simulation, derivatives, a fit and a prediction."""
    warnings.simplefilter("ignore")
    print(f"skphonon {skphonon.__version__}, {PACKAGE}")
    made = []

    def anew():
        forget()
        made[:] = [make_simulator()]

    def forget():
        for module in list(sys.modules.values()):
            for name in ("_BUILT", "_SIZES"):
                kept = getattr(module, name, None)
                if module.__name__.startswith("skphonon") and kept is not None:
                    kept.clear()

    def simulate():
        simulator, _ = made[0]
        simulator.simulate([simulator.reference])

    def differentiate():
        simulator, _ = made[0]
        simulator.jacobian([simulator.reference])

    def fit():
        simulator, measured = made[0]
        inverter = LeastSquaresInverter(
            simulator,
            nuisance={"energy_resolution": (1.0, 3.0), "lattice_scale": (0.97, 1.03)},
            background=3,
        )
        inverter.fit(measured.data[:1]).predict(measured.data[:1])

    anew()
    look("read n_atoms", lambda: made[0][0].model.n_atoms)
    look("simulate, cold", simulate, anew)
    look("simulate, warm", simulate)
    look("jacobian, warm", differentiate)
    look("least-squares fit, cold", fit, anew)
    look("least-squares fit, warm", fit)
    simulator, measured = made[0]
    X, y = make_powder_spectra(simulator, 64, random_state=0)
    pipeline = make_pipeline(
        MaskedSpectrumPreprocessor(),
        VAEFeatureExtractor(4, trainer=Trainer(max_epochs=1), random_state=0),
        ForceConstantRegressor(trainer=Trainer(max_epochs=1), random_state=0),
    ).fit(X, y)
    look("pipeline.predict", lambda: pipeline.predict(measured.data))


if __name__ == "__main__":
    main()
