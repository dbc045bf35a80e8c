r"""Magnetic form factors of ions, in the dipole approximation.

.. math:: f(Q) = \langle j_0(Q) \rangle
          + \frac{\mu_L}{\mu} \langle j_2(Q) \rangle

with the share :math:`\mu_L / \mu` of the orbital moment in the moment:
:math:`(g - 2) / g` where the crystal field quenches the orbit (3d ions), and
:math:`(2 - g_J) / g_J` with Lande's factor where it does not (4f ions). The integrals
are the expansions in Gaussians of P. J. Brown, *International Tables for
Crystallography* C, section 4.4.5, https://it.iucr.org/Cb/ch4o4v0001/sec4o4o5/, as kept
by the ``periodictable`` library.
"""

import re
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["magnetic_form_factor"]

_ION = re.compile(r"([A-Z][a-z]?)(?:(\d*)\+)?")  # Ni2+, Na+, Ni


def magnetic_form_factor(
    ion: str, q: ArrayLike, *, orbital_fraction: float = 0.0
) -> NDArray[np.float64]:
    r"""Return the magnetic form factor of an ion.

    Parameters
    ----------
    ion : str
        Symbol and charge, such as ``"Ni2+"``.
    q : array-like
        Momentum transfer :math:`|Q|` in 1/Angstrom, up to about 25: the tables hold for
        :math:`Q / 4 \pi` below 2 1/Angstrom.
    orbital_fraction : float, default=0.0
        Share :math:`\mu_L / \mu` of the orbital moment; 0 is the moment of spin alone.

    Returns
    -------
    ndarray of the shape of `q`
        :math:`f(Q)`, one at zero up to the rounding of the tables.

    Raises
    ------
    ValueError
        If the tables do not hold the ion, or not the integral asked for.

    Examples
    --------
    >>> from skphonon.physics.form_factors import magnetic_form_factor
    >>> magnetic_form_factor("Ni2+", [0.0, 2.0, 4.0]).round(3)
    array([1.   , 0.816, 0.48 ])
    """
    table = _table(ion)
    q = np.asarray(q, dtype=float)
    factor = _integral(ion, table, "j0", q)
    if orbital_fraction:
        factor = factor + orbital_fraction * _integral(ion, table, "j2", q)
    return factor


def _table(ion: str) -> Any:
    """Return what the library knows of an ion."""
    from periodictable import elements

    match = _ION.fullmatch(ion)
    if match is None:
        raise ValueError(
            f"An ion must be written as symbol and charge, such as 'Ni2+', got {ion!r}."
        )
    symbol, digits = match.groups()
    charge = 0 if digits is None else int(digits or 1)
    element = getattr(elements, symbol, None)
    known = getattr(element, "magnetic_ff", None) or {}
    if charge not in known:
        charges = ", ".join(map(str, sorted(known))) or "none"
        raise ValueError(
            f"There is no magnetic form factor of {ion!r}; of {symbol} the tables hold "
            f"the charges {charges}."
        )
    return known[charge]


def _integral(
    ion: str, table: Any, name: str, q: NDArray[np.float64]
) -> NDArray[np.float64]:
    if not hasattr(table, name):
        raise ValueError(f"The tables do not hold <{name}> of {ion!r}.")
    return getattr(table, f"{name}_Q")(q)
