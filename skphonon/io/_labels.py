"""Names and units of columns and axes, in the spellings that files have."""

import math
import re
from typing import NamedTuple

import numpy as np

from skphonon.physics.constants import MEV_PER_INVERSE_CM, MEV_PER_THZ

__all__ = [
    "MARK_OF_TABLES",
    "Label",
    "angle_in",
    "deviations",
    "factor",
    "incident_energy_in",
    "label",
    "monitor_beside",
    "require_factor",
    "require_rlu",
    "split_labels",
    "undivided",
    "units_in",
    "unused",
]

_ENERGY = {"mev": 1.0, "uev": 1e-3, "ev": 1e3, "thz": MEV_PER_THZ,
           "ghz": 1e-3 * MEV_PER_THZ, "cm-1": MEV_PER_INVERSE_CM}  # fmt: skip
_Q = {"a-1": 1.0, "nm-1": 0.1}
_OF = {"energy": _ENERGY, "q": _Q}
_SHOWN = {"energy": "meV, ueV, eV, THz, GHz or 1/cm", "q": "1/Angstrom or 1/nm"}
MARK_OF_TABLES = "pixel"  # name of the index of tables that to_pandas makes
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
    "chi''(qe) chi''(qw) χ''(qe) χ''(qω) imchi imχ",
    "error": "error err errors sigma std stderr dy di ds uncertainty errorbar stddev "
    "sd e(i) \u03c3 \u03c3i δi deltai deltas unc "
    "uncert uncertainties yerr ierr esd sig "
    "interror intensityerror errorintensity signalerror sigmai serr "
    "error% err% errors% sigma% %error %err variance var variances err^2 err2 err² "
    "error^2 error2 error² sigma^2 sigma2 sigma² \u03c3^2 \u03c32 \u03c3² "
    "std^2 std2 std² di^2 di2 "
    "dy^2 dy2 ds^2 ds2",
}
_VARIANCE = re.compile(r"var(?:iances?)?|.*(?:\^2|[^\d^]2|²)")
_SHARES = {"%": 0.01, "percent": 0.01, "percents": 0.01, "pct": 0.01, "rel": 1.0,
           "relative": 1.0}  # fmt: skip
_COUNTS = frozenset("counts cts cnts count".split())
_MONITOR = re.compile(r"mon(?:itor)?s?(?:counts?|cts|cnts)?\d?")
_MEANING = {
    name: meaning for meaning, names in _NAMES.items() for name in names.split()
}
_BRACKET = re.compile(r"^(.*?)\s*[\(\[\{]([^\(\)\[\]\{\}]*)[\)\]\}]\s*$")
_OVER = re.compile(r"^(.*?)(?:\s+in\s+|\s*/\s*|,\s*|_|\s+)(\S+)$")
_ARGUMENTS = frozenset(
    "q e w ω t k h qe qw qω qt eq ωq hkl hkle hklω hklw qhω qħω omega qomega".split()
)
_IMAGINARY = frozenset("imag im imaginary ''".split())
_REAL = frozenset("real re realpart '".split())
_OF_INTENSITY = re.compile(  # what a unit of intensity has
    r"ev|barn|mb|count|cts|cnt|arb|au$|a\.u|sr|monitor|mon$|sec|/|%|per|\d|f\.?u|unit"
)
_ASIDE = frozenset(  # columns that hold no errors
    f"{MARK_OF_TABLES} spectrum repeat twotheta dx pt pts point points no n number "
    "index run time mcu temperature temp tsample".split()
)
_ANGLES = frozenset("twotheta 2theta 2θ 2th tth twoth scatteringangle".split())
_DEGREES = {"": 1.0, "deg": 1.0, "degs": 1.0, "degree": 1.0, "degrees": 1.0, "°": 1.0,
            "rad": 180 / math.pi, "radian": 180 / math.pi,
            "radians": 180 / math.pi}  # fmt: skip
_LAST = re.compile(r"^(.*)[\s_](\S+)$")
_WORDS = {
    "energy": re.compile(
        r"(?<![a-z])(?:[mu]?ev|[tg]hz)(?![a-z])|(?<![a-z])cm\s?\^?[-{(]*1|1/cm"
    ),
    "q": re.compile(
        r"1/\s?(?:a|ang|angstroms?|nm)(?![a-z])"
        r"|(?<![a-z])(?:a|ang|angstroms?|nm)\s?\^?[{(]?-1"
    ),
}


_SPOKEN = {
    "energy": r"energ(?:y|ies)(?:[ _]?(?:transfers?|loss(?:es)?))?|(?:delta|δ)[ _]?e"
    r"|en?|et|[hħℏ]?[ _]?(?:bar)?[ _]?[wω]|[hħℏ]?[ _]?(?:bar)?[ _]?omega"
    r"|freq(?:uency|uencies)?|wavenumbers?",
    "q": r"[|]?q(?:[_ ]?mod|mod|abs|mag)?[|]?|mod[ _]?q|[|]q[|]"
    r"|momentum(?:[ _]transfers?)?|wave[ _-]?vector(?:s|[ _]transfers?)?",
}
_STATED = {
    axis: [
        re.compile(
            rf"(?<![^\W_])(?:{names})(?:[ _](?:axis|values?|column))?"
            rf"(?:\s+(?:is|are|was|were)(?:\s+given)?)?"
            rf"(?:\s*[(\[{{/:=,]\s*|[\s_]+in\s+|[\s_]+|[\s_]*units?\s*(?:is|are)?\s*[:=]?\s*)"
            rf"(?:in\s+|units?\s+of\s+)?(?:{_WORDS[axis].pattern})"
        ),
        re.compile(
            rf"units?\s+(?:of|for)\s+(?:the\s+)?(?:{names})(?![^\W_])"
            rf"(?:\s+(?:is|are|was|were))?\s*[:=]?\s*(?:{_WORDS[axis].pattern})"
        ),
    ]
    for axis, names in _SPOKEN.items()
}
_OTHER = re.compile(
    r"(?:incident|incoming|initial|final|fixed|neutron|elastic|resolution|width|fwhm"
    r"|step|bin|zero|gap|debye|cut-?off)(?:\s+(?:of|in|the|neutron))*[\s_]*$"
)
_NUMBER_OF_EI = r"[+-]?\d+(?:[.,]\d+)?(?:e[-+]?\d+)?"
_UNIT_OF_EI = r"1\s?/\s?cm|cm\s?\^?[-{(]*1[})]*|[^\W\d]+"
_EI = re.compile(
    r"(?<![^\W_])(?:ei|e_i|e_?\{i\}|(?:incident|incoming|initial)(?:[ _]neutron)?[ _]"
    r"energy)(?:\s*[(\[]\s*(?P<before>[^)\]]{1,20})[)\]]"
    rf"|(?:\s+in\s+|_)(?P<in>{_UNIT_OF_EI}))?"
    rf"\s*(?P<sign>[:=]|\bis\b|\bof\b)?\s*(?P<value>{_NUMBER_OF_EI})(?![\d.,]*\d)"
    rf"(?:\s*(?:±|\+/-|\+-)\s*[\d.,]+)?"
    rf"(?:\s?(?!to\b|and\b|or\b)(?P<after>{_UNIT_OF_EI}))?"
    r"(?P<more>\s*(?:[-\u2013\u2014/;]|\.\.+|,\s|\bto\b|\band\b|\bor\b)\s*[\d.,]+"
    r"(?:\s*(?P<last>[mu]?ev|[tg]hz|cm|1/cm)\b)?)?"
)
_NO_UNIT = frozenset("k a aa å angstrom angstroms nm km m hz khz s ms us j t c".split())


class Label(NamedTuple):
    """Meaning, unit and quantity of a column, None where it is not said.

    The quantity of an error is "variance" if it is one.
    """

    meaning: str | None
    unit: str | None
    quantity: str | None
    text: str


def label(text) -> Label:
    """Return what a name of a column says, such as "E (meV)"."""
    text = _unquoted(str(text).strip())[:200]
    name, unit = text, None
    meaning = _MEANING.get(_plain(name))
    if meaning is None:
        for pattern in (_BRACKET, _OVER, _LAST):
            found = pattern.match(text)
            if not found:
                continue
            meant = _MEANING.get(_plain(found[1]))
            beside = pattern is not _BRACKET
            if meant in _OF and beside and factor(found[2], meant) is None:
                continue  # such as Q_x
            if meant == "intensity":
                meaning, unit = _beside_intensity(found[2], beside)
                name = found[1] if meaning else text
                break
            if meant:
                meaning, name, unit = meant, found[1], found[2]
                break
    plain = _plain(name)
    quantity = None
    if meaning == "intensity":
        if plain.startswith(("chi", "χ", "im")):
            quantity = "chi"
        elif plain.startswith(("s(", "sq")):
            quantity = "sqe"
    elif meaning == "error":
        if _VARIANCE.fullmatch(plain) and not re.search(r"[\s_]2", name):
            quantity = "variance"
        elif "%" in plain:
            unit = "%"
    return Label(meaning, unit, quantity, text)


def angle_in(text):
    """Return what a scattering angle of this name is in degrees, None of no angle."""
    text = str(text).strip()[:200]
    names: list[tuple[str, ...]] = [(text, "")]
    for pattern in (_BRACKET, _OVER, _LAST):
        found = pattern.match(text)
        names += [found.groups()] if found else []
    for name, unit in names:
        if _plain(name) in _ANGLES:
            known = _DEGREES.get(unit.strip().lower())
            if known:
                return known
    return None


def require_rlu(labels, where):
    """Refuse h, k and l that are said to be in 1/Angstrom."""
    for said in labels:
        if said.meaning in ("h", "k", "l") and factor(said.unit, "q"):
            raise ValueError(
                f"{where} must have h, k and l in r.l.u., got {said.text!r}. Divide "
                "them by the lengths of the reciprocal lattice vectors, and rename the "
                "columns."
            )


def _beside_intensity(word, unit_only):
    """Return meaning and unit of an intensity that has a word beside it."""
    plain = _plain(word)
    if _MEANING.get(plain) == "error":
        return "error", None
    if plain in _IMAGINARY or (plain in _ARGUMENTS and not unit_only):
        return "intensity", None
    if plain in _REAL or (unit_only and not _OF_INTENSITY.search(_spelled(word))):
        return None, None
    return "intensity", word


def deviations(said, error, intensity):
    """Return standard deviations of a column of errors, variances or shares."""
    if said.quantity == "variance":
        return np.sqrt(np.where(error >= 0, error, np.nan))
    share = _SHARES.get(re.sub(r"[\s.]+", "", (said.unit or "").lower()))
    return error if share is None else share * error * np.abs(intensity)


def monitor_beside(names, intensity):
    """Return the name of a column of a monitor beside counts, None without both."""
    name = _BRACKET.sub(r"\1", intensity)
    if _plain(name) not in _COUNTS:
        return None
    plain = ((each, _plain(_BRACKET.sub(r"\1", each))) for each in names)
    return next((each for each, name in plain if _MONITOR.fullmatch(name)), None)


def undivided(where, monitor, intensity):
    """Return the message of counts that stand beside those of a monitor."""
    return (
        f"Intensities of {where} must be in proportion to S(Q, E), and the counts in "
        f"{intensity!r} were not divided by {monitor!r}. Divide both counts and errors "
        "by it first if it differs from point to point, or leave out that column."
    )


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
    """Return the units of an axis that a text says it has, each once.

    Such as "energy in meV", "E (meV)" or "unit of Q: 1/nm"; a unit alone, or that of a
    resolution or an incident energy, is none of the axis.
    """
    found: dict[float, str] = {}
    for line in _lines_of(text):
        for pattern in _STATED[axis]:
            for each in pattern.finditer(line):
                if _OTHER.search(line[max(0, each.start() - 60) : each.start()]):
                    continue
                for word in _WORDS[axis].findall(each[0])[-1:]:
                    known = factor(word, axis)
                    if known:
                        found.setdefault(known, word)
    return list(found.values())


def incident_energy_in(text, decimal="."):
    """Return the one incident energy that a text tells, in meV, or None."""
    found = {
        value
        for line in _lines_of(text)
        for each in _EI.finditer(line)
        if (value := _energy_of(each, decimal)) is not None
    }
    return found.pop() if len(found) == 1 else None


def _energy_of(found, decimal):
    """Return an energy in meV, None of several, of none or in an unknown unit."""
    value, unit = found["value"], None
    for name in ("before", "in", "after"):
        word = found[name]
        if word and factor(word, "energy"):
            unit = word
        elif word and (name != "after" or word in _NO_UNIT):
            return None
    if not (found["sign"] or unit):
        return None
    if found["more"] and (found["last"] or not found["after"]):
        return None
    if "," in value and decimal != ",":
        return None
    energy = float(value.replace(",", ".")) * (factor(unit, "energy") if unit else 1.0)
    return energy if 0 < energy < math.inf else None


def split_labels(line, n_columns, delimiter):
    """Return a line as that many labels, None if it is of another number."""
    line = line.strip(" \r\n")
    if len(line) > _LONGEST:
        return None
    ways = [delimiter] if delimiter else []
    for way in (*ways, "\t", ";", r",(?![^(\[]*[)\]])", r"\s{2,}", None, r"\s+"):
        line = line if way == delimiter else line.strip()
        if way is None:  # a name with its unit in brackets
            found = re.findall(r"[^\s(\[]\S*(?:\s+[(\[][^)\]]*[)\]])*", line)
        elif len(way) == 1 and way in ",;\t":
            found = line.split(way)
        else:
            found = re.split(way, line)
        found = [_unquoted(each.strip()) for each in found]
        if len(found) == n_columns:
            return found
        if len(found) == n_columns + 1 and not found[-1]:
            return found[:-1]
    return None


def _unquoted(text):
    """Return what stands between quotes; one at the end may be a prime, as in chi''."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    return text.lstrip("\"'")


def unused(names, known):
    """Return the message of columns that mean nothing, where none is of errors."""
    names = [
        name
        for name in names
        if name
        and _plain(name) not in _ASIDE
        and angle_in(name) is None
        and not _MONITOR.fullmatch(_plain(name))
    ]
    if "error" in known or not names:
        return None
    listed = ", ".join(map(repr, names[:8])) + (" ..." if names[8:] else "")
    return f"no column that is known to hold errors, and does not use {listed}"


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


def _lines_of(text):
    """Return lines in few spellings, without runs of white space or a long end."""
    lines = (line[:_LONGEST] for line in text.split("\n"))
    return [" ".join(_spelled(line).split()) for line in lines]


def _plain_unit(unit):
    plain = re.sub(r"[\s^{}()\[\]*.]+", "", _spelled(str(unit)))
    plain = re.sub(r"angstroms?|ang|aa", "a", plain.replace("microev", "uev"))
    plain = re.sub(r"^(?:inverse|inv|per|/)", "1/", plain).replace("1/1/", "1/")
    return re.sub(r"^1/(cm|nm|a)$", r"\1-1", plain)
