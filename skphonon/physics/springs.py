"""Crystals of central springs, for want of a calculation: where a fit may begin."""

import numpy as np

from skphonon.physics.force_constants import ForceConstantModel

__all__ = ["with_springs"]

_GRID = (np.indices((4, 4, 4)).reshape(3, -1).T + 0.25) / 4  # wavevectors that are told
_STIFFER = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0)  # transverse springs, tried in turn
_SOFT = 0.03  # of the highest energy: the least that a stable crystal has on the grid


def with_springs(
    model: ForceConstantModel, highest: float, *, decay: float = 3.0
) -> ForceConstantModel:
    r"""Return a crystal of springs whose highest phonon has a given energy.

    Springs along bonds fall with distance as :math:`d^{-n}`, and those across them are
    the least share of these, from 0.1 on, of which the crystal is stable. All are
    scaled so that phonons end at `highest`. This is a guess, good enough to begin a fit
    and for nothing else.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal; its `reference` is not looked at.
    highest : float
        Energy of the highest phonon, in meV.
    decay : float, default=3.0
        The power n.

    Returns
    -------
    ForceConstantModel
        The same crystal with a `reference`.

    Raises
    ------
    ValueError
        If `highest` is not positive, or no such crystal is stable.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import ForceConstantModel
    >>> from skphonon.physics import with_springs
    >>> fcc = 2.02 * (np.ones((3, 3)) - np.eye(3))
    >>> model = with_springs(ForceConstantModel(fcc, "Al", None), 40.0)
    >>> model.reference.round(2)
    array([0.57, 0.1 , 0.47, 0.37, 0.04])
    """
    if not (np.isfinite(highest) and highest > 0):
        raise ValueError(
            f"highest must be a positive energy in meV, got {highest!r}. Give the "
            "energy at which the phonons of the spectrum end."
        )
    springs = model.replace(reference=None).reduced(by="springs")
    length = {}
    for name in springs.parameter_names:
        row = np.array([float(other == name) for other in springs.parameter_names])
        tensors = np.tensordot(springs.expand(row), model.bond_tensors, axes=1)
        size = np.abs(tensors).max(axis=(1, 2))
        far = np.linalg.norm(model.bonds, axis=1)
        length[name] = far[size > size.max() / 2].min()
    shortest = min(length.values())
    for transverse in _STIFFER:
        row = np.array(
            [
                (shortest / length[name]) ** decay
                * (1.0 if name.split()[0].endswith("L") else transverse)
                for name in springs.parameter_names
            ]
        )
        reference = springs.expand(row)
        energies = model.frequencies(reference, _GRID)[0]
        if energies.min() > _SOFT * energies.max():
            scale = (highest / energies.max()) ** 2
            return model.replace(reference=scale * reference)
    raise ValueError(
        "No crystal of central springs is stable with these atoms and "
        f"{model.n_shells} shells. Take more shells, or a calculation of phonopy."
    )
