"""What a fit of observables has to warn of, once it is there.

A large chi^2 has two causes that ask for different remedies: values that no constants
of the model explain, and values that ask for other constants than the prior.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from skphonon._warnings import warn_user
from skphonon.fitting.knowledge import contradiction
from skphonon.inversion._bulk_observables import (
    ElasticConstants,
    HeatCapacity,
    MeanSquareDisplacement,
)
from skphonon.inversion._goodness import MisfitWarning
from skphonon.inversion._observable import Observable
from skphonon.inversion._phonon_energies import PhononEnergies
from skphonon.physics.elasticity import TOLERATED_VIOLATION, warn_of_violation
from skphonon.physics.stability import UnstableCrystalWarning, softest_modes

if TYPE_CHECKING:
    from skphonon.inversion._observable_fit import ObservablesFit

__all__ = ["warn_of_duplicates", "warn_of_fit"]

Array = NDArray[np.float64]

_LEVEL = 0.005  # false alarms of a misfit
_PULLED = 1e-3  # and of a prior that is left
_TOLERATED = 1.1  # errors are seldom known better
_MANY = 0.25  # share of outliers
_HOPELESS = 4.0  # chi^2 per degree of freedom that no few shells explain
_SOFTER = 1.25  # times what the reference gives: beyond it meshes are looked at anew
_UNSETTLED = 0.5  # standard deviations, between two meshes
_WITHIN = 0.9  # share of wavevectors in the first zone


def warn_of_duplicates(observables: Sequence[Observable]) -> None:
    """Warn of values that count twice."""
    seen: set[Any] = set()
    for number, each in enumerate(observables):
        names = each.places if isinstance(each, PhononEnergies) else each.quantities
        keys = zip(names, each.measured.tolist(), each.errors.tolist(), strict=True)
        for row, key in enumerate(keys):
            if key in seen:
                warn_user(
                    f"Row {row} of observable {number}, {each.quantities[row]}, is "
                    "there twice, with the same value and error: it counts twice. "
                    "Leave one out unless both were measured.",
                    UserWarning,
                )
                return
            seen.add(key)


def warn_of_fit(fit: "ObservablesFit", start: Array) -> None:
    """Warn of what prior, values and model say against each other.

    `start` are constants that are about right, to which units are held.
    """
    told = [*(o.unit_doubt(start) for o in fit.observables), *_misfits(fit)]
    sentences = list(dict.fromkeys(filter(None, told)))
    if sentences:
        warn_user(" ".join(sentences), MisfitWarning)
    _warn_of_turning(fit)
    _warn_of_instability(fit)


def _warn_of_turning(fit: "ObservablesFit") -> None:
    """Warn of elastic constants of fitted force constants that hang on the direction.

    Unless it was told when the observable was made, of the reference of its model.
    """
    for each in fit.observables:
        if isinstance(each, ElasticConstants):
            reference, before = each.model.reference, 0.0
            if reference is not None:
                before = each.violation(reference)
            if before <= TOLERATED_VIOLATION:
                warn_of_violation(each.violation(fit.parameters))
                return


def _misfits(fit: "ObservablesFit") -> list[str]:
    n_inside = int(fit.inside.sum())
    both, n_both = 0.0, n_inside - fit.n_free
    if fit.prior is not None:
        residual, slopes = (part[fit.inside] for part in fit._residuals)
        off = fit.parameters - fit.prior[0]
        both, n_both = contradiction(residual, slopes, off, fit.prior[1])
    rest, n_rest = fit.chi2 - both, n_inside - n_both
    pulled, misfits = _is_off(both, n_both, _PULLED), _is_off(rest, n_rest, _LEVEL)
    if fit.prior is not None and not (pulled or misfits):
        whole = _is_off(fit.chi2, n_inside, _LEVEL)
        misfits = whole and n_rest > 0 and both / n_both < rest / n_rest
        pulled = whole and not misfits
    n_out = len(fit.inside) - n_inside
    misfits = misfits or (n_rest > 0 and n_out > _MANY * len(fit.inside))
    told = []
    if pulled:
        told.append((both / n_both, _contradiction(fit, both, n_both)))
    if misfits:
        told.append((rest / n_rest, _misfit(fit, rest / n_rest)))
    return [sentence for _, sentence in sorted(told, reverse=True)]


def _is_off(value: float, n_free: int, level: float) -> bool:
    """Tell whether chi^2 is improbably large."""
    return n_free > 0 and value > max(chi2.isf(level, n_free), _TOLERATED * n_free)


def _contradiction(fit: "ObservablesFit", value: float, n_both: int) -> str:
    moved = np.asarray(fit.pull)
    far = int(np.abs(moved).argmax())
    energies = any(isinstance(each, PhononEnergies) for each in fit.observables)
    meant = " (energies must be in meV)" if energies else ""
    return (
        f"The prior and the values contradict each other: chi^2 {value:.3g} in "
        f"{n_both} direction{'s'[: n_both > 1]} of which both tell, the pull of the "
        f"prior {fit.prior_chi2:.3g} ({fit.parameter_names[far]} moved by "
        f"{moved[far]:+.1f} of its standard deviations), be it that values are in "
        f"another unit{meant} or of another material, or that the prior is too narrow."
    )


def _misfit(fit: "ObservablesFit", figure: float) -> str:
    n_out = int((~fit.inside).sum())
    many = n_out > _MANY * len(fit.inside)
    prior = (
        ", or a prior that is too narrow a larger width" if fit.prior and many else ""
    )
    told = (
        "The model does not describe the values within their errors: chi^2 per degree "
        f"of freedom {figure:.3g}, {n_out} of {len(fit.inside)} values are outliers. "
        "Errors of the constants are too small. Look at outliers, give the model more "
        f"shells, or the values larger errors{prior}."
    )
    if figure > _HOPELESS or many:
        told += _about_wavevectors(fit.observables)
    return told


def _about_wavevectors(observables: Sequence[Observable]) -> str:
    """Return what wavevectors are often mistaken for."""
    tables = [each for each in observables if isinstance(each, PhononEnergies)]
    told = ""
    if any(each.lattice is None and not each.is_at_centre for each in tables):
        told += (
            " h, k and l are in units of the reciprocal lattice of the model, which is "
            "that of a primitive cell, unless lattice= gives the conventional one."
        )
    if any(each.share_in_first_zone > _WITHIN for each in tables):
        told += (
            " Energies without modes are at wavevectors in the first zone: if they "
            "were moved there, give least_strength=None."
        )
    return told


def _warn_of_instability(fit: "ObservablesFit") -> None:
    softest = softest_modes(fit.model, fit.parameters[None])
    if softest.eigenvalues[0] < 0:
        energy, reduced = softest.worst()
        place = ", ".join(f"{x + 0.0:.3g}" for x in reduced.round(4))
        warn_user(
            "The fitted constants describe an unstable crystal: a mode at q = "
            f"({place}) in units of the reciprocal lattice has the imaginary energy "
            f"{energy:.2g}i meV. Do not use it: give a prior, more values, or leave "
            "out what asks for it.",
            UnstableCrystalWarning,
        )
        return
    for each in fit.observables:
        if isinstance(each, MeanSquareDisplacement | HeatCapacity):
            off = _unsettled(each, fit)
            if not off <= _UNSETTLED:
                warn_user(
                    "The fitted constants describe a crystal near an instability, for "
                    f"which the mesh of the zone is too coarse: {each.quantities[0]} "
                    f"is {off:.2g} standard deviations off on one that suits it. Fit "
                    "again with the observables of fit.fitted_model, or give a mesh.",
                    UnstableCrystalWarning,
                )
                return


def _unsettled(each: Any, fit: "ObservablesFit") -> float:
    """Return by how much values change on a mesh that is made for the fitted crystal.

    In standard deviations; 0 where nothing speaks for another mesh.
    """
    if each.mesh is not None:
        return 0.0
    found = each.calculate(fit.parameters)[0]
    before = each.calculate(each.model.reference)[0]
    if (found < _SOFTER * before).all():
        return 0.0
    again = each.replace(model=fit.fitted_model).calculate(fit.parameters)[0]
    return float(np.abs((again - found) / each.errors).max())
