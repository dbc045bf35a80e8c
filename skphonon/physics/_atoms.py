"""Elements and isotopes, by their symbols."""

import re
from typing import Any

__all__ = ["element_and_mass", "find_atom", "isotope_of_mass"]

_SYMBOL = re.compile(r"(?:([1-9]\d{0,2})([A-Z][a-z]?)|([A-Z][a-z]?)-([1-9]\d{0,2}))")
_INDEXED = re.compile(r"([A-Z][a-z]{0,2})[1-9]\d*")  # "Fe1", as phonopy numbers sites
_SAME_MASS = 0.02  # amu: masses in files are rounded
_OTHER_MASS = 0.05  # amu: tables of natural masses differ by less


def find_atom(symbol: str) -> Any:
    """Return periodictable's atom of ``Ni``, ``58Ni``, ``Ni-58`` or ``D``, or None."""
    # an isotope is the same object however it is written
    from periodictable import elements

    match = _SYMBOL.fullmatch(symbol)
    if match:
        before, first, second, after = match.groups()
        symbol = f"{before or after}-{first or second}"
    elif not symbol.isalpha():
        return None
    try:
        atom = elements.isotope(symbol)
    except ValueError:
        return None
    return atom if atom.number > 0 else None  # the library lists the neutron, "n"


def element_and_mass(symbol: str) -> tuple[str, float | None]:
    """Return the element of an atom, and its mass in amu if it is an isotope's."""
    atom = find_atom(symbol)
    if atom is not None:
        isotope = hasattr(atom, "isotope")
        return (atom.element.symbol, atom.mass) if isotope else (atom.symbol, None)
    indexed = _INDEXED.fullmatch(symbol)
    if indexed and find_atom(indexed[1]) is not None:
        return symbol, None
    raise ValueError(
        f"symbol must name an element ('Ni') or an isotope of one ('58Ni', 'Ni-58', "
        f"'D', 'T'), got {symbol!r}{_known_isotopes(symbol)}."
    )


def isotope_of_mass(symbol: str, mass: float) -> str | None:
    """Return the isotope that the mass of an atom says, None for the mixture."""
    indexed = _INDEXED.fullmatch(symbol)
    symbol = indexed[1] if indexed else symbol
    element = find_atom(symbol)
    if element is None or hasattr(element, "isotope"):
        return None
    if not element.mass or abs(mass - element.mass) < _OTHER_MASS:
        return None
    for number in element.isotopes:
        isotope = element[number]
        if abs(mass - isotope.mass) < _SAME_MASS:
            return "D" if isotope is find_atom("D") else f"{number}{symbol}"
    return None


def _known_isotopes(symbol: str) -> str:
    match = _SYMBOL.fullmatch(symbol)
    element = find_atom(match[2] or match[3]) if match else None
    if element is None or hasattr(element, "isotope"):
        return ""
    numbers = element.isotopes
    return f"; isotopes of {element.symbol} are {numbers[0]} to {numbers[-1]}"
