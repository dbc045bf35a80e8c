"""Draws of a prior that a calculator made, beside constants of a measurement."""

from ase.build import bulk
from ase.calculators.emt import EMT

from skphonon import load_aluminium_model
from skphonon.datasets import sample_force_constants
from skphonon.inspection import PhononBandsDisplay, draw_parameters

prior = sample_force_constants(
    {"EMT": EMT()}, bulk("Al", cubic=True), n_shells=2, strains=(-0.01, 0.0, 0.01),
    temperatures=(0.0,), random_state=0,
)  # fmt: skip
draws = prior.sample(100, random_state=0)
known = load_aluminium_model("gilat-nicklow-1966")
PhononBandsDisplay.from_draws(
    {
        "prior of a calculator (EMT)": draw_parameters(
            prior.model, prior.mean_, draws=draws
        ),
        "measured (Gilat and Nicklow 1966)": draw_parameters(known),
    }
).plot()
