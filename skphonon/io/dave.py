r"""Group files of DAVE (.grp): spectra over energy transfer, in text.

Under headings that begin with ``#`` stand the numbers of energies and of groups, the
energies, the value of each group, and for each group rows of intensity and error. The
headings name the axes with their units, such as "energy transfer (ueV) Values:" and
"Q transfer (1/Angstroms) Values:". Mantid's SaveDaveGrp writes the same.
"""

import re
from pathlib import Path

import numpy as np

from skphonon.io._images import Axis, measured_image
from skphonon.io._kinds import require_kind
from skphonon.io._number_lines import Lines

__all__ = ["read_dave"]

_MEV = {  # size of units of energy in meV
    "mev": 1.0, "millielectronvolts": 1.0, "ev": 1e3, "kev": 1e6,
    "uev": 1e-3, "µev": 1e-3, "μev": 1e-3, "microev": 1e-3, "mu-ev": 1e-3,
    "microelectronvolts": 1e-3,
    "thz": 4.135667696, "ghz": 4.135667696e-3, "1/cm": 0.1239841984,
    "cm^-1": 0.1239841984, "cm-1": 0.1239841984,
}  # fmt: skip
_PER_ANGSTROM = {  # size of units of momentum transfer in 1/Angstrom
    **dict.fromkeys(("1/angstrom", "1/angstroms", "angstrom^-1", "angstroms^-1",
                     "1/a", "a^-1", "a-1", "å^-1", "1/å", "inverse angstrom",
                     "inverse angstroms", "angstrom-1", ""), 1.0),
    **dict.fromkeys(("1/nm", "nm^-1", "nm-1"), 0.1),
}  # fmt: skip
_DEGREES = {
    **dict.fromkeys(("degree", "degrees", "deg", "°", ""), 1.0),
    **dict.fromkeys(("rad", "radian", "radians"), 180 / np.pi),
}
_UNITS = {"q": _PER_ANGSTROM, "two_theta": _DEGREES}
_ACROSS = {  # words that tell what groups are
    r"\|?q\|?\b|momentum|wave\s*vector": "q",
    r"(scattering|detector)?\s*angles?\b|(2|two)[-_ ]?theta|phi\b|.*\bdeg(rees?)?\b":
        "two_theta",
}  # fmt: skip
_SQUARE = re.compile(r"\|?q\|? ?(\^|\*\*)? ?2\b|.*²|.*\bsquared?\b")
_COMMENTS = 100  # lines at most
_HEADING = 200  # characters at most
# of headings with single spaces
_LABEL = re.compile(r"# ?(.*?) ?(?:[(\[]([^()\[\]]*)[)\]])? ?values ?:?", re.I)


def read_dave(
    path,
    *,
    incident_energy=None,
    temperature=None,
    quantity=None,
    axis=None,
    energy_unit=None,
):
    r"""Read a group file of DAVE: S of momentum transfer or angle, and energy.

    Parameters
    ----------
    path : str or path-like
        The file (.grp), in text.
    incident_energy : float, default=None
        Energy of the incoming neutrons in meV; needed for groups of scattering angle.
    temperature : float, default=None
        Temperature of the sample in K.
    quantity : {"sqe", "chi"}, default=None
        Scattering function or susceptibility. The file does not tell.
    axis : {"q", "two_theta"}, default=None
        Meaning of the groups: momentum transfer in 1/Angstrom or scattering angle in
        degrees. None takes the words of their heading.
    energy_unit : {"meV", "ueV", "eV", "THz", "GHz", "1/cm"}, default=None
        Unit of the energies. None takes that of their heading.

    Returns
    -------
    Measurement
        One spectrum on a :class:`~skphonon.SpectrumGrid` or, for scattering angles, an
        :class:`~skphonon.instrument.AngleGrid`. NaN where the file has NaN, or
        intensity and error are both 0 in a bin of :math:`|Q|`, or at all energies of an
        angle; errors also where they are 0. The sign of the
        energy is that of the file. Energies from `incident_energy` on are left out,
        with a warning if intensities stand there.
        `details` holds the headings of the axes, `labels`, and `comments`, the lines
        behind the last group, in which programs tell of themselves.

    Raises
    ------
    OSError
        If the file is missing.
    ValueError
        If it is no group file, damaged or cut off, holds no intensities, does not
        tell a unit or the meaning of its groups (the message names the argument), or
        has groups of Q^2.

    Warns
    -----
    MeasurementWarning
        If bins are so uneven that the grid has other borders, intensities lie where no
        neutron of `incident_energy` can arrive, or some were left out from this energy
        on.

    See Also
    --------
    skphonon.io.read_processed : Read what Mantid saves with all that it knows.

    Notes
    -----
    The format is that of https://docs.mantidproject.org/nightly/algorithms/
    SaveDaveGrp-v1.html.

    Examples
    --------
    >>> from skphonon.io import read_dave
    >>> measured = read_dave("graphite.grp", quantity="sqe")  # doctest: +SKIP
    >>> measured.grid.shape  # doctest: +SKIP
    (60, 28)
    """
    if axis not in (None, *_UNITS):
        raise ValueError(f"axis must be one of {', '.join(_UNITS)}, got {axis!r}.")
    if energy_unit is not None and energy_unit.lower() not in _MEV:
        raise ValueError(
            f"energy_unit must be one of meV, ueV, eV, THz, GHz, 1/cm, got "
            f"{energy_unit!r}."
        )
    require_kind(path, "grp")
    with Path(path).open(encoding="utf-8", errors="replace") as file:
        lines = Lines(file, path)
        n_energy, n_groups = _count(lines), _count(lines)
        lines.require_room(n_energy + n_groups)
        labels, axes = [], []
        for n, what in ((n_energy, "energies"), (n_groups, "values of groups")):
            label = _LABEL.fullmatch(" ".join(lines.take()[:_HEADING].split()))
            if not label:
                raise ValueError(
                    f"{lines.place()} must be a heading that ends with 'Values:'."
                )
            labels.append((label[1].lower(), (label[2] or "").strip().lower()))
            axes.append(lines.numbers(n, what))
        data, errors = _groups(lines, n_groups, n_energy)
        comments = _comments(lines, n_groups)
    energy = axes[0] * _energy_factor(path, *labels[0], energy_unit)
    name, factor = _meaning(path, *labels[1], axis)
    if name == "two_theta" and incident_energy is None:
        raise ValueError(
            f"The groups of {path} are scattering angles, so that incident_energy must "
            "be known. Pass incident_energy=..., in meV, to skphonon.io.read_dave."
        )
    return measured_image(
        data.T,
        errors.T,
        Axis("energy", energy),
        Axis(name, axes[1] * factor),
        path,
        incident_energy=incident_energy,
        temperature=temperature,
        quantity=quantity,
        source=str(path),
        details={
            "labels": [" ".join(filter(None, each)) for each in labels],
            "comments": comments,
        },
    )


def _count(lines):
    lines.require(r"#\s*number of\b", "a heading '# Number of ...'")
    number = int(lines.require(r"\s*(\d{1,9})\s*$", "that number")[1])
    if not number:
        raise ValueError(f"{lines.place()} must be a positive number, got 0.")
    return number


def _groups(lines, n_groups, n_energy):
    """Return intensities and errors, of shape (n_groups, n_energy)."""
    lines.require_room(2 * n_groups * n_energy)
    data, errors = np.empty((2, n_groups, n_energy))
    for number in range(n_groups):
        lines.require(r"#\s*group\b", f"the heading of group {number}")
        pairs = lines.numbers(2 * n_energy, f"intensities and errors of {number}")
        data[number], errors[number] = pairs[::2], pairs[1::2]
    return data, errors


def _comments(lines, n_groups):
    """Return the lines behind the last group, where programs tell of themselves."""
    found: list[str] = []
    while line := lines.take():
        if not line.startswith("#") or len(found) == _COMMENTS:
            raise ValueError(
                f"{lines.place()} must be a comment (at most {_COMMENTS}) or the end, "
                f"after {n_groups} groups, got {line[:40]!r}."
            )
        found.append(line[:200].lstrip("# "))
    return found


def _energy_factor(path, label, unit, wanted):
    """Return the size in meV of the unit of energy."""
    unit = (wanted or unit).lower()
    if not wanted and not re.search(r"energy|deltae|\bw\b|omega|\be\b", label):
        raise ValueError(
            f"{path} must have energies first, got {label or 'no label'!r}. Pass "
            "energy_unit=... to skphonon.io.read_dave if these are energies."
        )
    if unit not in _MEV:
        raise ValueError(
            f"The unit of the energies in {path} must be known, got "
            f"{unit or 'none'!r}. "
            "Pass energy_unit=..., such as 'meV' or 'ueV', to skphonon.io.read_dave."
        )
    return _MEV[unit]


def _meaning(path, label, unit, wanted):
    """Return what groups are, "q" or "two_theta", and the size of their unit."""
    named = [name for words, name in _ACROSS.items() if re.match(words, label)]
    name = wanted or (named[0] if named else None)
    if not wanted and _SQUARE.match(label):
        raise ValueError(
            f"The groups of {path} must be of Q, got those of its square, {label!r}. "
            "Write their roots into the file, in 1/Angstrom, and Q as their heading; "
            "or pass axis='q' to skphonon.io.read_dave if they are Q already."
        )
    if name is None:
        for each, units in _UNITS.items():
            if unit and unit in units:
                name = each
    if name is None or (not wanted and unit not in _UNITS[name]):
        raise ValueError(
            f"The groups of {path} must be momentum transfers or scattering angles, in "
            f"a known unit, got {label or 'no label'!r} in {unit or 'no unit'!r}. Pass "
            "axis='q' (in 1/Angstrom) or axis='two_theta' (in degrees) to "
            "skphonon.io.read_dave if they are."
        )
    return name, _UNITS[name].get(unit, 1.0)
