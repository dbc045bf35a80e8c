"""What of the scattering of a sample is simulated, one small estimator for all."""

from typing import Any

from skphonon._validation import StrOptions, at_least
from skphonon._versioned import VersionedEstimator

__all__ = ["Scattering"]


class Scattering(VersionedEstimator):
    """What of the scattering by phonons is simulated, and with which atoms.

    Simulators of phonons take one as `scattering`. In searches and `set_params` of a
    simulator the values go by names such as ``scattering__n_phonons``.

    Parameters
    ----------
    incoherent : bool, default=False
        Whether to add incoherent scattering.
    n_phonons : int or "auto", default=None
        Largest number of phonons created or absorbed at once. Terms above 1 come in the
        incoherent approximation. "auto" takes so many that further ones hold less than
        0.1 % of the intensity in the window at the reference. None: 1, or "auto" for a
        powder that :meth:`PowderSimulator.from_measurement` makes.
    scattering_lengths : dict, default=None
        Own values for some symbols: coherent length in fm, or a pair of it and the
        incoherent cross-section in barn. See
        :func:`~skphonon.physics.scattering_lengths.scattering_lengths`.

    Examples
    --------
    >>> from skphonon.simulation import Scattering
    >>> Scattering(incoherent=True, n_phonons="auto")
    Scattering(incoherent=True, n_phonons='auto')
    """

    _parameter_constraints = {
        "incoherent": ["boolean"],
        "n_phonons": [at_least(1), StrOptions({"auto"}), None],
        "scattering_lengths": [dict, None],
    }

    def __init__(self, *, incoherent=False, n_phonons=None, scattering_lengths=None):
        self.incoherent = incoherent
        self.n_phonons = n_phonons
        self.scattering_lengths = scattering_lengths


# what to do instead of the parameters that simulators had in 0.1
MOVED = {
    name: f"give scattering=Scattering({name}=...), or scattering__{name} to set_params"
    for name in Scattering._parameter_constraints
}


def as_scattering(given: Any) -> Any:
    """Return the scattering that is meant; None and two names are shortcuts."""
    if given is None:
        return Scattering()
    if given == "coherent":
        return Scattering(n_phonons=1)
    if given == "total":
        return Scattering(incoherent=True, n_phonons="auto")
    return given


def scattering_of(state):
    """Take what 0.2.0.dev0 had as parameters out of a saved state; return it in one."""
    held = {name: state.pop(name) for name in MOVED if name in state}
    usual = {"incoherent": False, "n_phonons": 1, "scattering_lengths": None}
    changed = {name: each for name, each in held.items() if each != usual[name]}
    return Scattering(**changed) if changed else None
