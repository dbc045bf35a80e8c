r"""
Aluminium as it warms
=====================

Least squares fit five force constants to powder spectra measured on ARCS, and with them
what the instrument did. Dotted lines show what the curve averages. Where spectra cannot
be had, the first line of the output says so, and synthetic ones take their place.
"""

# sphinx_gallery_thumbnail_number = 4
from skphonon.datasets import load_aluminium_spectra

measured = load_aluminium_spectra([50, 280, 640])  # K
print(measured.source)
_ = measured[0].plot(cuts={"q": (3.0, 6.0)})

# %%
# The fit of one spectrum
# -----------------------
# The model starts from constants of density functional theory. Resolution, lattice and
# displacements of atoms are fitted along within ranges, and a smooth background. A
# coarse mesh of the Brillouin zone is refined where it would move a constant.

import warnings

import pandas as pd

from skphonon import LeastSquaresInverter, PowderSimulator, load_aluminium_model
from skphonon.inversion import BoundWarning, MisfitWarning

warnings.simplefilter("ignore", BoundWarning)  # the verdict below says the same
warnings.simplefilter("ignore", MisfitWarning)
model = load_aluminium_model()


def fit_of(spectrum):
    """Return the fit of one spectrum."""
    inverter = LeastSquaresInverter(
        PowderSimulator.from_measurement(
            model, spectrum, scattering="coherent", tolerance=1e-2
        ),
        nuisance={
            "energy_resolution": (0.9, 3.0),
            "energy_resolution_slope": (-0.2, 1.5),
            "lattice_scale": (0.97, 1.03),
            "mean_square_displacement": (-0.004, 0.02),
        },
        background=3,
    ).fit(spectrum.data)
    inverter.predict(spectrum.data)
    return inverter.fits_[0]


fits = {f"{each.temperature:.0f} K": fit_of(each) for each in measured}
_ = fits["50 K"].plot(cuts={"energy": (18.0, 22.0), "q": (3.0, 6.0)})

# %%
# The verdict says whether the model describes the spectrum. The measured one holds more
# than noise and this model, in patches: its constants are effective ones.

print(fits["50 K"].verdict_)

# %%
# Constants against temperature
# -----------------------------
# In eV/Å\ :sup:`2`; NMSE is the part of the variance that a fit leaves. White noise
# alone is 0.052 of the measured spectra. 2YY is hardly determined.

table = pd.DataFrame(
    {
        name: [
            f"{value:.3f} ± {std:.3f}"
            for value, std in zip(fit.parameters, fit.std, strict=True)
        ]
        for name, fit in fits.items()
    },
    index=model.parameter_names,
)
table.loc["NMSE"] = [f"{fit.figures['loss']:.3f}" for fit in fits.values()]
table

# %%
# Straight lines through all temperatures: 1XX, along the bond to a nearest neighbour,
# falls as the crystal warms.

from skphonon.inspection import PhononBandsDisplay, TemperatureTrendsDisplay

trends = TemperatureTrendsDisplay.from_fits(list(fits.values()))
_ = trends.plot()

# %%
# Phonons
# -------
# Bands are intervals of 68 %, from the covariance of the constants.

bands = PhononBandsDisplay.from_draws({name: fits[name] for name in ("50 K", "640 K")})
_ = bands.plot()

# %%
# A network finds the constants of any number of spectra at once:
# :doc:`/learn_measured` compares one, trained on 10,000 simulations, with least squares
# at all temperatures. The same analysis without a script is :doc:`/command_line`.
