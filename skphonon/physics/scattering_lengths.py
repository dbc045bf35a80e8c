r"""Bound neutron scattering lengths and cross-sections of elements and isotopes.

Lengths b are in fm and cross-sections in barn (1 barn = 100 fm^2), for atoms bound in
a solid. The table is that of H. Rauch and W. Waschkowski, *Neutron Scattering Lengths*
(Landolt-Boernstein I/16A, doi:10.1007/10499706_6; also chapter 1.1 of the ILL *Neutron
Data Booklet*, 2003) with later measurements, as kept by the ``periodictable`` library,
which lists every source. It differs from the older table of V. F. Sears, *Neutron
News* 3, 26 (1992), doi:10.1080/10448639208218770, by 0.1 % for most elements but by
2 % for Ti and Te and 16 % for the small coherent length of V.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skphonon.physics._atoms import find_atom

__all__ = ["ScatteringLengths", "scattering_lengths"]

Array = NDArray[np.float64]


class ScatteringLengths(NamedTuple):
    """Scattering lengths and cross-sections of some atoms.

    Parameters
    ----------
    coherent_length : ndarray of shape (n_atoms,)
        Real part of the bound coherent scattering length in fm.
    incoherent_cross_section : ndarray of shape (n_atoms,)
        Bound incoherent cross-section in barn.
    """

    coherent_length: Array
    incoherent_cross_section: Array

    @property
    def coherent_cross_section(self) -> Array:
        r"""Bound coherent cross-section in barn, :math:`4 \pi b^2`."""
        return 4 * np.pi * self.coherent_length**2 / 100


def scattering_lengths(
    symbols: Sequence[str],
    *,
    values: Mapping[str, float | tuple[float, float]] | None = None,
) -> ScatteringLengths:
    """Look up scattering lengths and cross-sections of atoms.

    Strong absorbers have complex lengths; the table gives the real part at a
    wavelength of 1.798 Angstrom (25.3 meV). Where a resonance makes that part change
    with the energy of the neutron (Cd, Sm, Eu, Gd and some isotopes) no single value
    is right, and the caller has to choose one.

    Parameters
    ----------
    symbols : sequence of str
        An element in its natural mixture, ``"Ni"``, or one isotope, ``"58Ni"`` or
        ``"Ni-58"``. ``"D"`` is ``"2H"`` and ``"T"`` is ``"3H"``.
    values : dict, default=None
        Own values for some of the symbols, such as mixtures of isotopes: the coherent
        length in fm, in which case the incoherent cross-section is that of the table,
        or a pair of the length and the incoherent cross-section in barn. An isotope
        is the same however it is written.

    Returns
    -------
    ScatteringLengths
        One entry a symbol.

    Raises
    ------
    ValueError
        If a symbol is neither in the table nor in `values`, its scattering has a
        resonance, `values` names another symbol or one twice, or a value is not
        finite or a cross-section negative.

    Examples
    --------
    >>> from skphonon.physics.scattering_lengths import scattering_lengths
    >>> nickel = scattering_lengths(["Ni", "Ni-58", "Ni-60"])
    >>> nickel.coherent_length
    array([10.3, 14.4,  2.8])
    >>> nickel.coherent_cross_section.round(1)
    array([13.3, 26.1,  1. ])
    """
    own = {} if values is None else values
    keys = [_key(symbol) for symbol in symbols]
    unused = sorted(name for name in own if _key(name) not in keys)
    if unused:
        raise ValueError(
            "Scattering lengths must be of elements that the crystal has, "
            f"{', '.join(dict.fromkeys(symbols))}; got one for {', '.join(unused)}."
        )
    by_key = {_key(name): value for name, value in own.items()}
    if len(by_key) < len(own):
        raise ValueError(
            "values must name every symbol once; got an isotope in two spellings among "
            f"{', '.join(own)}."
        )
    pairs = [
        _pair(symbol, by_key.get(key))
        for symbol, key in zip(symbols, keys, strict=True)
    ]
    lengths, incoherent = np.array(pairs, dtype=float).reshape(-1, 2).T
    return ScatteringLengths(lengths, incoherent)


def _key(symbol: str) -> object:
    """Return what is the same for all spellings of an isotope."""
    return find_atom(symbol) or symbol


def _pair(symbol: str, own: float | tuple[float, float] | None) -> tuple[float, float]:
    """Return the length and the incoherent cross-section of one symbol."""
    if own is None:
        return _tabulated(symbol)
    try:
        pair = np.array(own, dtype=float)
    except (TypeError, ValueError):  # a text, or complex
        pair = np.full(2, np.nan)
    if pair.ndim == 0:
        pair = np.array([pair, _tabulated(symbol, own_length=True)[1]])
    if pair.shape != (2,) or not np.isfinite(pair).all() or pair[1] < 0:
        raise ValueError(
            "A scattering length must be a real coherent length in fm, or a pair of it "
            "and an incoherent cross-section in barn, at least 0; both finite. Got "
            f"{symbol!r}: {own!r}."
        )
    return float(pair[0]), float(pair[1])


def _tabulated(symbol: str, own_length: bool = False) -> tuple[float, float]:
    """Return what the table says, where it applies."""
    atom = find_atom(symbol)
    neutron = None if atom is None else atom.neutron
    advice = f"pass values={{{symbol!r}: (length in fm, incoherent cross-section)}}"
    if neutron is None or neutron.b_c is None:
        raise ValueError(
            f"The table has no scattering length for {symbol!r}. Write an element as "
            f"'Ni' and an isotope as '58Ni' or 'Ni-58', or {advice}."
        )
    if neutron.is_energy_dependent and not own_length:
        raise ValueError(
            f"A resonance makes the scattering length of {symbol} depend on the energy "
            f"of the neutron, so that no single value is right: {advice} at yours."
        )
    return neutron.b_c, neutron.incoherent
