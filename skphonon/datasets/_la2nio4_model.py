"""La2NiO4: the square-lattice antiferromagnet of spin 1, as a spin-wave model."""

import numpy as np

from skphonon.physics.spin_waves import SpinWaveModel

_A, _C = 3.89, 12.55  # Angstrom, of the square of nickel and of the stacking
_RENORMALIZATION = 1.083


def load_la2nio4_model():
    r"""Make a spin-wave model of La2NiO4 with published constants.

    Spins of 1 on a square lattice with exchange J along its sides and J' along its
    diagonals, in meV, each bond counted once. With wavevectors in units of the
    reciprocal square lattice,

    .. math:: E = Z_c \sqrt{A^2 - B^2},\quad
              A = 4 J - 4 J' (1 - \cos 2\pi h \cos 2\pi k),\quad
              B = 2 J (\cos 2\pi h + \cos 2\pi k).

    Planes are not coupled, and there is no anisotropy, so that magnons are gapless.
    Moments are taken to lie in the plane, in two equal domains at right angles, and
    have the form factor of Ni2+.

    Returns
    -------
    SpinWaveModel
        Its `reference` is J = 29.00 and J' = 1.67 meV, an analytical fit to measured
        magnons [1]_; :math:`Z_c` = 1.083 is what reproduces published simulations with
        these constants. Theory has 1.079 for J' = 0 to first order in 1/S [2]_.

    References
    ----------
    .. [1] S. R. Chitturi et al., Nat. Commun. 14, 5852 (2023),
       https://doi.org/10.1038/s41467-023-41378-4
    .. [2] T. Oguchi, Phys. Rev. 117, 117 (1960),
       https://doi.org/10.1103/PhysRev.117.117

    Examples
    --------
    >>> from skphonon.datasets import load_la2nio4_model
    >>> model = load_la2nio4_model()
    >>> model.parameter_names
    ['J', "J'"]
    >>> energies, _ = model.modes([model.reference], [[0.5, 0, 0], [0.25, 0.25, 0]])
    >>> energies[0, :, 0].round(1)
    array([111.2, 118.4])
    """
    return SpinWaveModel(
        np.diag([_A, _A, _C]),
        [1, -1],
        {"J": _A, "J'": np.sqrt(2) * _A},
        [29.00, 1.67],
        positions=[[0, 0, 0], [1, 0, 0]],
        magnetic_cell=[[1, 1, 0], [1, -1, 0], [0, 0, 1]],
        axis=[[1, 1, 0], [1, -1, 0]],
        ions="Ni2+",
        renormalization=_RENORMALIZATION,
    )
