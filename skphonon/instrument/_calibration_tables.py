"""Tables of a calibration."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skphonon.instrument._corrections import ModuliStory
from skphonon.instrument._energy_rows import EnergyRows
from skphonon.instrument.bragg import BraggLine, Pattern
from skphonon.instrument.detector_faults import BankFault, DetectorFault, Streak
from skphonon.instrument.elastic_line import ElasticFit
from skphonon.instrument.holders import FoundHolder
from skphonon.instrument.phases import Expected, ModuliFit

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


def _table(rows: Iterable[Any], columns: Sequence[str]) -> "pd.DataFrame":
    """Return a table of tuples, with its columns also where there are none."""
    import pandas as pd  # the instrument itself does without

    return pd.DataFrame([tuple(row) for row in rows], columns=list(columns))


def elastic_table(
    rows: EnergyRows, banks: NDArray, fits: Sequence[ElasticFit]
) -> "pd.DataFrame":
    places = (rows.q, rows.q) if rows.two_theta is None else (rows.two_theta,) * 2
    names = (
        "zero",
        "zero_std",
        "width",
        "width_std",
        "area",
        "maximum",
        "reduced_chi2",
    )
    return _table(
        [
            (
                number,
                (banks == number).sum(),
                places[0][banks == number].min(),
                places[1][banks == number].max(),
                *(float(getattr(fit, name)) for name in names[:4]),
                float(fit.area) * rows.unit,
                *(float(getattr(fit, name)) for name in names[5:]),
            )
            for number, fit in enumerate(fits)
        ],
        ("bank", "n_rows", "low", "high", *names),
    )


def line_table(
    rows: EnergyRows, mean: Array, error: Array, fit: ElasticFit
) -> "pd.DataFrame":
    intensities = rows.unit * np.stack([mean, error, fit.curve(rows.edges)])
    return _table(
        zip(rows.energy, *intensities, strict=True),
        ("energy", "intensity", "error", "fit"),
    )


def reflection_table(
    lines: Sequence[BraggLine],
    expected: Expected | None,
    moduli: ModuliFit | None,
    k: float | None,
    holders: Sequence[FoundHolder],
    unit: float,
) -> "pd.DataFrame":
    of_holder = {
        number: (holder, hkl)
        for holder in holders
        for number, hkl in holder.reflection.items()
    }
    rows = []
    for number, line in enumerate(lines):
        phase, hkl, place, used = "unknown", "", np.nan, False
        if moduli and expected and moduli.reflection[number] >= 0:
            reflection = moduli.reflection[number]
            phase, hkl = "sample", expected.labels[reflection]
            place, used = expected.q[reflection], bool(moduli.used[number])
        elif number in of_holder:
            phase, hkl = of_holder[number][0].name, of_holder[number][1]
        right = (
            line.q if moduli is None else float(moduli.corrected(np.array(line.q), k))
        )
        rows.append(
            (*line[:3], unit * line.area, phase, hkl, place, line.q / place - 1,
             right / place - 1, used)
        )  # fmt: skip
    return _table(
        rows,
        ("q", "q_std", "width", "area", "phase", "hkl", "expected", "deviation",
         "deviation_calibrated", "used"),
    )  # fmt: skip


def fit_table(
    moduli: ModuliFit | None, story: ModuliStory | None, k: float | None
) -> "pd.DataFrame":
    """Return factors and offsets, the latter in degrees where angles are known."""
    turn = 1.0 if k is None else 180 / np.pi
    rows = []
    if moduli is not None and story is not None:
        found = {
            "factor alone": ((moduli.scale, 0.0), (moduli.scale_std, 0.0)),
            "lines": (story.lines.terms, story.lines.terms_std),
            "whole pattern": story.pattern,
            "best": (story.best.terms, story.best.terms_std),
            "applied": (moduli.terms, moduli.terms_std),
        }
        rows = [
            (name, each[0][0], each[1][0], turn * each[0][1], turn * each[1][1])
            for name, each in found.items()
            if each is not None
        ]
    return _table(rows, ("fit", "scale", "scale_std", "offset", "offset_std"))


def detector_table(rows: EnergyRows, faults: Sequence[DetectorFault]) -> "pd.DataFrame":
    angles = rows.two_theta
    return _table(
        [(x.detector, angles[x.detector], x.kind, x.ratio) for x in faults]
        if angles is not None
        else [],
        ("detector", "two_theta", "kind", "ratio"),
    )


def bank_table(faults: Sequence[BankFault]) -> "pd.DataFrame":
    return _table(faults, BankFault._fields)


def holder_table(holders: Sequence[FoundHolder]) -> "pd.DataFrame":
    return _table(
        [(*x[:3], len(x.reflection), ", ".join(x.missing)) for x in holders],
        ("name", "lattice_parameter", "lattice_parameter_std", "n_lines", "missing"),
    )


def pattern_table(pattern: Pattern, unit: float) -> "pd.DataFrame":
    points = np.stack([pattern.intensity, pattern.error, pattern.baseline])
    return _table(
        zip(pattern.q, *(unit * points), strict=True),
        ("q", "intensity", "error", "baseline"),
    )


def streak_table(streaks: Sequence[Streak]) -> "pd.DataFrame":
    return _table(streaks, Streak._fields)
