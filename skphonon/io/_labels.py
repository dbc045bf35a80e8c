"""Names and units of columns and axes, in the spellings that files have."""

import re
from typing import NamedTuple

from skphonon.physics.constants import MEV_PER_INVERSE_CM, MEV_PER_THZ

__all__ = ["Label", "factor", "label", "require_factor", "split_labels", "units_in"]

_ENERGY = {"mev": 1.0, "uev": 1e-3, "ev": 1e3, "thz": MEV_PER_THZ,
           "ghz": 1e-3 * MEV_PER_THZ, "cm-1": MEV_PER_INVERSE_CM}  # fmt: skip
_Q = {"a-1": 1.0, "nm-1": 0.1}
_OF = {"energy": _ENERGY, "q": _Q}
_SHOWN = {"energy": "meV, ueV, eV, THz, GHz or 1/cm", "q": "1/Angstrom or 1/nm"}
_LONGEST = 4096  # characters of a line of labels
_NAMES = {
    "energy": "e en energy energytransfer energytrans deltae w ω hw ħω ℏω hω hbarw "
    "hbaromega hbarω omega freq frequency wavenumber nu δe et etransfer energyloss",
    "q": "q modq qmod qabs absq momentumtransfer momentum qmag wavevectortransfer",
    "h": "h qh",
    "k": "k qk",
    "l": "l ql",
    "intensity": "i int intensity intensities s sqe sqw s(qe) s(qw) s(qω) signal y "
    "data value counts cts cnts count chi chi'' chi\" χ'' χ\" χ chi(qe) chi(qw) "
    "chi''(qe) chi''(qw) χ''(qe) χ''(qω)",
    "error": "error err errors sigma std stderr dy di ds uncertainty errorbar stddev "
    "sd e(i) interror intensityerror errorintensity signalerror sigmai serr",
}
_MEANING = {
    name: meaning for meaning, names in _NAMES.items() for name in names.split()
}
_BRACKET = re.compile(r"^(.*?)\s*[\(\[\{]([^\(\)\[\]\{\}]*)[\)\]\}]\s*$")
_OVER = re.compile(r"^(.*?)(?:\s+in\s+|\s*/\s*|,\s*|_|\s+)(\S+)$")
_WORDS = {
    "energy": re.compile(
        r"(?<![a-z])(?:[mu]?ev|[tg]hz)(?![a-z])|(?<![a-z])cm\s?\^?[-{(]*1|1/cm"
    ),
    "q": re.compile(
        r"1/\s?(?:a|ang|angstroms?|nm)(?![a-z])"
        r"|(?<![a-z])(?:a|ang|angstroms?|nm)\s?\^?[{(]?-1"
    ),
}


class Label(NamedTuple):
    """Meaning, unit and quantity of a column, None where it is not said."""

    meaning: str | None
    unit: str | None
    quantity: str | None
    text: str


def label(text) -> Label:
    """Return what a name of a column says, such as "E (meV)"."""
    text = str(text).strip().strip("\"'").strip()[:200]
    name, unit = text, None
    meaning = _MEANING.get(_plain(name))
    if meaning is None:
        for pattern in (_BRACKET, _OVER):
            found = pattern.match(text)
            if not found:
                continue
            meant = _MEANING.get(_plain(found[1]))
            if meant in _OF and pattern is _OVER and factor(found[2], meant) is None:
                continue  # such as Q_x
            if meant:
                meaning, name, unit = meant, found[1], found[2]
                break
    plain = _plain(name)
    quantity = None
    if meaning == "intensity":
        if plain.startswith(("chi", "χ")):
            quantity = "chi"
        elif plain.startswith(("s(", "sq")):
            quantity = "sqe"
    return Label(meaning, unit, quantity, text)


def factor(unit, axis):
    """Return what a unit of energy or |Q| is in meV or 1/Angstrom, None if unknown."""
    return _OF[axis].get(_plain_unit(unit))


def require_factor(unit, axis):
    """Return what a unit is, or say which are known."""
    found = factor(unit, axis)
    if found is None:
        raise ValueError(f"{axis}_unit must be {_SHOWN[axis]}, got {unit!r}.")
    return found


def units_in(text, axis):
    """Return the units of an axis that a text speaks of, each once."""
    plain = _spelled(text)
    found = [factor(word, axis) and word for word in _WORDS[axis].findall(plain)]
    return list({factor(word, axis): word for word in found if word}.values())


def split_labels(line, n_columns, delimiter):
    """Return a line as that many labels, None if it is of another number."""
    line = line.strip()
    if len(line) > _LONGEST:
        return None
    ways = [delimiter] if delimiter else []
    for way in (*ways, "\t", ";", r",(?![^(\[]*[)\]])", r"\s{2,}", None, r"\s+"):
        if way is None:  # a name with its unit in brackets
            found = re.findall(r"[^\s(\[]\S*(?:\s+[(\[][^)\]]*[)\]])*", line)
        elif len(way) == 1 and way in ",;\t":
            found = line.split(way)
        else:
            found = re.split(way, line)
        found = [each.strip().strip("\"'").strip() for each in found]
        if len(found) == n_columns:
            return found
        if len(found) == n_columns + 1 and not found[-1]:
            return found[:-1]
    return None


def _plain(name):
    name = name.lower().replace("|", "")
    return re.sub(r"[\s_,\-$\\]+", "", name)


def _spelled(text):
    """Return units in few spellings: µ as u, Å as a, ⁻¹ as -1."""
    for old, new in (("µ", "u"), ("μ", "u"), ("Å", "a"), ("å", "a"), ("Å", "a"),
                     ("⁻¹", "-1"), ("\N{MINUS SIGN}", "-"), ("$", ""),
                     ("\\", "")):  # fmt: skip
        text = text.replace(old, new)
    return text.lower()


def _plain_unit(unit):
    plain = re.sub(r"[\s^{}()\[\]*.]+", "", _spelled(str(unit)))
    plain = re.sub(r"angstroms?|ang|aa", "a", plain.replace("microev", "uev"))
    plain = re.sub(r"^(?:inverse|inv|per|/)", "1/", plain).replace("1/1/", "1/")
    return re.sub(r"^1/(cm|nm|a)$", r"\1-1", plain)
