"""How many latent dimensions a variational network keeps, by the weight of divergence.

Run with ``python tests/benchmarks/latent_dimensions.py``. Trains the same pipeline with
four weights on 3,500 simulated spectra of aluminium on a coarse grid, with noise,
resolution and background drawn for each, and prints the dimensions in use and R^2 of
500 other spectra. Needs no data and about two minutes.
"""

from time import perf_counter

import numpy as np
import pandas as pd
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skphonon import (
    ForceConstantRegressor,
    MaskedSpectrumPreprocessor,
    PowderSimulator,
    SpectrumGrid,
    VAEFeatureExtractor,
    load_aluminium_model,
    make_powder_spectra,
)
from skphonon.inspection import active_dimensions
from skphonon.learning import Trainer

WEIGHTS = 1e-6, 1e-2, 3e-2, 1e-1


def main():
    """Train with each weight, and print what is in use and what is known."""
    energy, q = np.arange(10.5, 45, 1.5), np.arange(0.6, 10, 0.4)
    simulator = PowderSimulator(
        load_aluminium_model(),
        SpectrumGrid(energy, q, incident_energy=50.0),
        energy_resolution=1.54,
        temperature=50.0,
        tolerance=1e-3,
    )
    X, y = make_powder_spectra(
        simulator,
        4000,
        noise=(0.0, 0.1),
        augmentation={"energy_resolution": (1.3, 1.8), "background": (0.0, 0.2)},
        random_state=0,
    )
    X, X_test, y, y_test = train_test_split(X, y, test_size=500, random_state=0)
    rows = {}
    for weight in WEIGHTS:
        started = perf_counter()
        inverter = make_pipeline(
            MaskedSpectrumPreprocessor(),
            VAEFeatureExtractor(
                10,
                kl_weight=weight,
                noise=0.1,
                trainer=Trainer(max_epochs=60),
                random_state=0,
            ),
            ForceConstantRegressor((256, 256), noise=0.3, random_state=0),
        ).fit(X, y)
        scores = r2_score(y_test, inverter.predict(X_test), multioutput="raw_values")
        rows[weight] = {"in use": active_dimensions(inverter, X_test).count}
        rows[weight] |= dict(zip(simulator.parameter_names, scores, strict=True))
        rows[weight]["seconds"] = perf_counter() - started
    print(pd.DataFrame(rows).T.rename_axis("KL weight").round(3).to_string())


if __name__ == "__main__":
    main()
