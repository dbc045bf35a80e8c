r"""Calibration of powder measurements by what they hold: elastic line and Bragg lines.

A shift of the elastic line moves the borders of energy bins. A factor and an offset of
:math:`|Q|`, of data by detector or scattering angle, are an incident energy and angles
that are a little wrong, and are corrected so; energy transfers stay as they are, since
the elastic line alone does not tell how wrong they are elsewhere. Data on bins of
:math:`|Q|` have these moved. What is within its error is left as it is.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon._warnings import warn_user
from skphonon.instrument._calibration_tables import (
    bank_table,
    detector_table,
    elastic_table,
    fit_table,
    holder_table,
    line_table,
    pattern_table,
    reflection_table,
    streak_table,
)
from skphonon.instrument._corrections import (
    FEWEST,
    Agreement,
    ModuliStory,
    agreement_of,
    bin_error,
    cautious_moduli,
    considered_moduli,
    corrected_measurement,
    recorded,
)
from skphonon.instrument._crystals import atoms_of, cell_lengths
from skphonon.instrument._energy_rows import EnergyRows, energy_rows, wavenumber
from skphonon.instrument._energy_sign import reversed_energies
from skphonon.instrument._excess import mean_with_excess, small_sample
from skphonon.instrument._whole_pattern import fit_whole_pattern
from skphonon.instrument.bragg import (
    BraggLine,
    Pattern,
    find_lines,
    pattern_of,
    width_trend,
)
from skphonon.instrument.calibration_report import Calibration, with_error
from skphonon.instrument.detector_faults import (
    BankFault,
    DetectorFault,
    find_bank_faults,
    find_detector_faults,
    find_streaks,
)
from skphonon.instrument.detectors import DetectorMeasurement
from skphonon.instrument.elastic_line import (
    ElasticFit,
    fit_banks,
    require_elastic_line,
)
from skphonon.instrument.elastic_resolution import require_settings, scaled_resolution
from skphonon.instrument.holders import HOLDERS, FoundHolder, Holder, find_holders
from skphonon.instrument.measurement import Measurement, MeasurementWarning
from skphonon.instrument.phases import (
    TERMS,
    Expected,
    ModuliFit,
    expected_lines,
    fit_moduli,
)
from skphonon.physics.reflections import powder_reflections

__all__ = ["calibrate"]

_log = logging.getLogger(__name__)

Array = NDArray[np.float64]
Atoms = tuple[Array, Array, list[str]]  # lattice, positions, symbols

_REACH = 2.5  # widths of the elastic line on either side that a pattern integrates
_UNCALIBRATED = 0.005  # relative uncertainty of |Q| without a crystal
_WRONG = 0.01  # of |Q|: no calibration is as bad, more likely the lattice is wrong
_DOUBTFUL = 0.005  # the same where |Q| is corrected by it: 1 % of the incident energy
_LISTED = 5  # dead rows that a warning names
_FAR = 0.03  # of the incident energy: no elastic line is as far from zero
_SHAPES = ("constant", "direct_geometry")
_ALLOWED = {"auto": TERMS, "scale": TERMS[:1], "offset": TERMS[1:], "none": ()}


def calibrate(
    measurement: Measurement,
    crystal: Any = None,
    *,
    banks: int | ArrayLike = 12,
    correct_q: str = "auto",
    resolution: float | str | Callable | Mapping[str, Any] | None = None,
    holders: Sequence[Holder] = HOLDERS,
    mask_noisy: bool = False,
    scattering_lengths: Mapping[str, Any] | None = None,
) -> Calibration:
    r"""Calibrate a powder measurement by its own elastic line.

    The elastic line tells the zero of energy and the resolution there. Its intensity
    against :math:`|Q|` has the Bragg lines of the sample, which tell how :math:`|Q|`
    was calibrated, and of what else stood in the beam. Detectors are compared with
    those beside them.

    Parameters
    ----------
    measurement : DetectorMeasurement or Measurement
        Intensities by detector, or of one spectrum on a SpectrumGrid or AngleGrid,
        with energies from below the elastic line on. Bins of :math:`|Q|` must be
        narrower than Bragg lines (their full width at half maximum), or these tell
        nothing of :math:`|Q|`.
    crystal : ForceConstantModel, atoms or tuple, default=None
        The sample: also atoms of phonopy or ASE, or a Phonopy; a tuple is (lattice,
        positions, symbols), as
        :func:`~skphonon.physics.reflections.powder_reflections` takes them. Its lattice
        is held for true: it must be the one measured at the temperature of the sample,
        as a computed one looks like a wrong :math:`|Q|`. None: lines are not told
        apart, and :math:`|Q|` is left as it is, as it is where the crystal does not
        explain most of the strong lines, or no more lines than chance would.
    banks : int or array-like of int of shape (n_rows,), default=12
        Number of banks of neighbouring scattering angles; or the bank of each
        detector, angle or :math:`|Q|` bin, negative for none.
    correct_q : {"auto", "scale", "offset", "none"}, default="auto"
        What may be wrong with :math:`|Q|`: the incident energy ("scale"), the zero of
        scattering angles ("offset"), or both, where Bragg lines tell them apart. On
        bins of :math:`|Q|`, these have a factor and an offset.
    resolution : float, str, callable or mapping, default=None
        Energy resolution against energy transfer, scaled to the width of the elastic
        line: "constant" or "direct_geometry"; a function, such as
        :func:`~skphonon.instrument.instrument_resolution` returns; or a mapping with
        the arguments of that, such as ``{"instrument": "MARI", "chopper_frequency":
        200}``. A number is a standard deviation in meV, taken as it is.
        "direct_geometry" is
        :math:`[1 + 2 (1 - E/E_i)^{3/2}] / 3`, for want of settings: within 0.1 of what
        PyChop has for MARI, ARCS and MERLIN, up to twice too small at large energy loss
        where the moderator's pulse matters, as on MAPS and SEQUOIA. None takes that of
        the measurement, if it is a function, else a constant.
    holders : sequence of Holder, default=HOLDERS
        Materials to which lines may belong that are not of the sample: aluminium,
        copper, bcc and fcc iron (steels) and vanadium.
    mask_noisy : bool, default=False
        Whether to mask noisy detectors as well as dead ones.
    scattering_lengths : dict, default=None
        Own values for atoms of the crystal, see
        :func:`~skphonon.physics.scattering_lengths.scattering_lengths`.

    Returns
    -------
    Calibration
        The calibrated measurement, tables of all that was found, and a report as its
        text. NaN in the data for dead detectors. The ``details["calibration"]`` of
        the measurement records what was applied, of several calibrations together;
        :math:`|Q|` that was calibrated before is only corrected again by more than
        twice the errors of that.

    Raises
    ------
    ValueError
        If there is no elastic line in the range of energies, the measurement holds
        several spectra or chi'', or an argument is not one of those above.
    TypeError
        If the measurement is none or of a single crystal, or the crystal is not known.

    Warns
    -----
    MeasurementWarning
        If the elastic line is more than its standard deviation, or 3 % of the incident
        energy, from zero; rows are masked as dead; banks of detectors are a constant
        factor off their neighbours; lines of the sample are not found, are too few or
        narrower than bins, :math:`|Q|` is wrong by more than 1 % or corrected by more
        than 0.5 %, the resolution is taken as constant, or intensities at negative
        energies are clearly the larger ones, which detailed balance forbids: then
        energies are reversed.

    Notes
    -----
    The zero of energy is the centre of the mean spectrum, in which the sample's Bragg
    lines weigh most. Banks that see the flank of a Bragg line have zeros of their own,
    as neutrons of other energies than the mean meet it there.

    On bins of :math:`|Q|` that were made before the shift, an elastic line at
    :math:`E_0` has its Bragg lines moved by :math:`-E_0 / 4 E_i`, relatively, which is
    then part of the factor found. Detectors and angles do not have this.

    An error of the incident energy also moves the elastic line, by an amount that
    depends on flight paths which a measurement does not tell. So the incident energy is
    not deduced from the zero.

    The `lattice_scale` of a fit with the same crystal means the same as the factor
    found here, whether the instrument or the lattice is wrong: see
    :meth:`~skphonon.instrument.calibration_report.Calibration.nuisance`.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import Measurement, SpectrumGrid
    >>> from skphonon.instrument import calibrate
    >>> energy, q = np.arange(-10, 30, 0.5), np.arange(1.0, 6.0, 0.1)
    >>> line = np.exp(-((energy - 0.3) ** 2) / 2)[:, None] * np.ones(len(q))
    >>> grid = SpectrumGrid(energy, q, incident_energy=60.0)
    >>> measured = Measurement(grid.to_rows(line), grid, quantity="sqe")
    >>> found = calibrate(measured, resolution="constant")
    >>> round(found.energy_zero, 2), found.applied
    (0.3, ('energy_zero',))
    >>> found.measurement.grid.energy[:2].round(2)
    array([-10.3,  -9.8])
    """
    _check_arguments(correct_q, resolution)
    rows = energy_rows(measurement)
    incident = measurement.incident_energy
    mean, error, overall = require_elastic_line(rows, incident)
    faults = find_detector_faults(rows, overall)
    masked = _masked(rows, faults, mask_noisy)
    if masked.any():
        rows = rows.without(masked)
        mean, error, overall = require_elastic_line(rows, incident)
    bank_faults = find_bank_faults(rows, overall, incident)
    of_banks = _bank_of_rows(rows, banks)
    fits, line = fit_banks(rows, of_banks, overall)
    reach = _REACH * line.width
    pattern = pattern_of(rows, line.zero - reach, line.zero + reach)
    lines = find_lines(pattern)
    k = None if rows.two_theta is None or incident is None else wavenumber(incident)
    expected, moduli, story, coarse, warnings = _of_the_sample(
        measurement, crystal, lines, pattern, k, _ALLOWED[correct_q], scattering_lengths
    )
    if crystal is not None and moduli is None:
        holders = ()  # what is not of a crystal that nobody knows tells nothing
    found_holders = _of_holders(lines, pattern, moduli, k, holders)
    calibrated, applied = corrected_measurement(measurement, line, moduli, masked)
    if masked.any():
        kinds = {fault.kind for fault in faults if masked[fault.detector]}
        applied += tuple(sorted(kinds))
    function, advice = _resolution(measurement, calibrated, resolution, line)
    warnings = [
        *_far_zero(line, incident, applied),
        *_of_masked(rows, faults, masked),
        *_of_bank_faults(measurement, bank_faults),
        *warnings,
        *advice,
        *reversed_energies(measurement, rows, line),
    ]
    for text in warnings:
        warn_user(text, MeasurementWarning)
    numbers = {
        "energy_zero": line.zero,
        "energy_zero_std": line.zero_std,
        "energy_width": line.width,
        "energy_width_std": line.width_std,
        **_of_moduli(lines, expected, moduli, story, k, incident, coarse),
    }
    _log.info(
        "elastic line at %.3g(%.1g) meV, standard deviation %.3g meV; corrected: %s",
        line.zero,
        line.zero_std,
        line.width,
        ", ".join(applied) or "nothing",
    )
    return Calibration(
        measurement=calibrated.replace(
            energy_resolution=function,
            details=recorded(
                calibrated, applied, numbers, moduli.terms if moduli else (1.0, 0.0)
            ),
        ),
        elastic=elastic_table(rows, of_banks, fits),
        elastic_line=line_table(rows, mean, error, overall),
        pattern=pattern_table(pattern, rows.unit),
        reflections=reflection_table(
            lines, expected, moduli, k, found_holders, rows.unit
        ),
        holders=holder_table(found_holders),
        detectors=detector_table(rows, faults),
        bank_faults=bank_table(bank_faults),
        streaks=streak_table(find_streaks(rows, mean, error, line)),
        q_fits=fit_table(moduli, story, k),
        q_reason="" if story is None else story.reason,
        elastic_maximum=overall.maximum,
        **numbers,
        applied=applied,
        warnings=tuple(warnings),
        lattice_parameters=() if moduli is None else cell_lengths(atoms_of(crystal)[0]),
    )


def _check_arguments(correct_q: str, resolution: Any) -> None:
    if not isinstance(correct_q, str) or correct_q not in _ALLOWED:
        raise ValueError(
            f"correct_q must be one of {', '.join(_ALLOWED)}, got {correct_q!r}."
        )
    if isinstance(resolution, str) and resolution not in _SHAPES:
        raise ValueError(
            f"resolution must be one of {', '.join(_SHAPES)}, a function of energy, a "
            "mapping with the arguments of instrument_resolution or None, got "
            f"{resolution!r}."
        )
    if isinstance(resolution, Mapping):
        require_settings(resolution)
    elif resolution is not None and not (
        isinstance(resolution, str) or callable(resolution) or _is_width(resolution)
    ):
        raise ValueError(
            "resolution must be a positive number of meV, a name, a function of "
            f"energy, a mapping or None, got {resolution!r}."
        )


def _is_width(value: Any) -> bool:
    """Tell whether a value is a standard deviation in meV."""
    number = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    return number and 0 < float(value) < np.inf


def _far_zero(
    line: ElasticFit, incident: float | None, applied: Sequence[str]
) -> list[str]:
    """Return a warning where another line may have been taken for the elastic one."""
    least = line.width if incident is None else min(line.width, _FAR * incident)
    if "energy_zero" not in applied or abs(line.zero) <= least:
        return []
    share = ""
    if incident is not None:
        share = f" and {100 * abs(line.zero) / incident:.2g} % of the incident energy"
    return [
        f"The elastic line is taken to be at {line.zero:.3g} meV, "
        f"{abs(line.zero) / line.width:.2g} of its standard deviations{share} away "
        "from zero, more than instruments usually are off: energies are moved by that. "
        "It must be the elastic line, not another one that is higher: see elastic_line "
        "of the result. If it is another, use the measurement as it was."
    ]


def _masked(
    rows: EnergyRows, faults: Sequence[DetectorFault], mask_noisy: bool
) -> NDArray[np.bool_]:
    masked = np.zeros(len(rows.values), dtype=bool)
    for fault in faults:
        masked[fault.detector] = mask_noisy or fault.kind == "dead"
    return masked


def _of_masked(
    rows: EnergyRows, faults: Sequence[DetectorFault], masked: NDArray[np.bool_]
) -> list[str]:
    """Return a warning of rows that are masked since they count too little."""
    dead = [
        fault.detector
        for fault in faults
        if fault.kind == "dead" and masked[fault.detector]
    ]
    if not dead:
        return []
    listed = ", ".join(map(str, dead[:_LISTED])) + " ..." * (len(dead) > _LISTED)
    return [
        f"{len(dead)} of {len(rows.values)} detectors or angles count less than a "
        f"tenth of their neighbours and are masked as dead: {listed}. See detectors of "
        "the result."
    ]


def _of_bank_faults(measurement: Measurement, faults: Sequence[BankFault]) -> list[str]:
    """Return a warning of banks that are a constant factor off their neighbours."""
    if not faults:
        return []
    angles = [f"{each.low:.1f} to {each.high:.1f}" for each in faults]
    told = "; ".join(
        f"from {where} degrees, {with_error(each.ratio, each.ratio_std)} times"
        for where, each in zip(angles, faults, strict=True)
    )
    how = "measured.replace(data=...) with NaN there"
    if isinstance(measurement, DetectorMeasurement):
        bank = " | ".join(
            f"((angle > {each.low - 0.1:.1f}) & (angle < {each.high + 0.1:.1f}))"
            for each in faults
        )
        how = (
            "measured.replace(data=np.where(bank[:, None], np.nan, measured.data)) "
            f"with angle = np.abs(measured.polar) and bank = {bank}"
        )
    return [
        "Banks of detectors count a constant factor of what those beside them do: "
        f"{told}, at all inelastic energies, which no sample does. Nothing of it is "
        f"changed. Mask them, {how}, or divide intensities and errors by that factor."
    ]


def _bank_of_rows(rows: EnergyRows, banks: int | ArrayLike) -> NDArray[np.intp]:
    """Return the bank of each row, from 0 on; -1 where nothing was measured."""
    measured = np.isfinite(rows.values).any(axis=1) & np.isfinite(rows.q)
    if not isinstance(banks, str | Mapping) and np.ndim(banks):
        given = np.asarray(banks)
        if given.shape != (len(rows.values),) or given.dtype.kind not in "iu":
            raise ValueError(
                "banks must be a number, or an integer for each of "
                f"{len(rows.values)} rows, got shape {given.shape} of {given.dtype}."
            )
        _, number = np.unique(given, return_inverse=True)
        number = number - len(np.unique(given[given < 0]))
        return np.where(measured & (given >= 0), number, -1)
    if isinstance(banks, bool | np.bool_) or not isinstance(banks, Integral):
        raise ValueError(
            "banks must be a whole number, or an integer for each of "
            f"{len(rows.values)} rows, got {banks!r}."
        )
    n_banks = int(banks)
    if n_banks < 1:
        raise ValueError(f"banks must be at least 1, got {n_banks}.")
    of = np.full(len(rows.values), -1)
    order = np.flatnonzero(measured)
    order = order[np.argsort(rows.q[order], kind="stable")]
    for place, part in enumerate(np.array_split(order, min(n_banks, len(order)))):
        of[part] = place
    return of


def _of_the_sample(
    measurement: Measurement,
    crystal: Any,
    lines: Sequence[BraggLine],
    pattern: Pattern,
    k: float | None,
    terms: Sequence[str],
    values: Mapping[str, Any] | None,
) -> tuple[Expected | None, ModuliFit | None, ModuliStory | None, float, list[str]]:
    """Return lines of the crystal, what to correct, what was found, and warnings.

    The number is the error of places that wide bins leave, in 1/Angstrom.
    """
    if crystal is None:
        return None, None, None, 0.0, []
    lattice, positions, symbols = atoms_of(crystal)
    few = (
        "Less than two Bragg lines of the crystal were found: |Q| is not calibrated. "
        "Check its lattice and incident_energy, and pass detectors, or bins narrower "
        "than the lines."
    )
    if measurement.error is None:
        few += (
            " Pass errors as well, measurement.replace(error=...): without them only "
            "lines that stand out of the scatter of rows are found."
        )
    if len(lines) < 2:
        return None, None, None, 0.0, [few]
    reflections = powder_reflections(
        lattice, positions, symbols, 1.03 * pattern.q[-1], values=values
    )
    expected = expected_lines(reflections, lines, float(np.median(pattern.span)))
    every = fit_moduli(lines, expected, k)
    moduli = fit_moduli(lines, expected, k, terms)
    if every is None or moduli is None:
        return None, None, None, 0.0, [few]
    coarse = bin_error(lines, pattern)
    agreement = agreement_of(lines, expected, every, k)
    (every, enough), (moduli, _) = (
        cautious_moduli(each, expected, coarse) for each in (every, moduli)
    )
    if not agreement.convinces and not coarse:
        return None, None, None, 0.0, [_disagreement(agreement)]
    if enough:
        beyond = pattern.q[-1] + 4 * float(width_trend(lines)(pattern.q[-1]))
        reflections = powder_reflections(
            lattice, positions, symbols, 1.03 * beyond, values=values
        )
        whole = fit_whole_pattern(
            pattern, reflections, lines, every.reflection >= 0, every.terms, k
        )
        moduli, story = considered_moduli(
            measurement, (every, moduli), whole, terms, lines, expected, k
        )
        doubts = _doubts(moduli, lattice, measurement.incident_energy, k)
        return expected, moduli, story, coarse, doubts
    step = float(np.median(np.diff(pattern.q)))
    text = (
        "Bragg lines do not tell enough of |Q|, which is left as it is: "
        f"{moduli.used.sum()} lines of the crystal, seen at steps of {step:.2g} "
        "1/Angstrom. There must be five, and steps below their widths. Pass "
        "detectors, or bins narrower than the lines, and a wide range of |Q|."
    )
    story = ModuliStory(every, None, every, "Bragg lines do not tell enough")
    return expected, moduli, story, coarse, [text]


def _disagreement(found: Agreement) -> str:
    if found.n_lines < FEWEST:
        return (
            f"{found.n_lines} Bragg lines are too few to tell whether the crystal is "
            f"the sample, of which it explains {found.n_matched}: there must be "
            f"{FEWEST}. |Q| is left as it is. Pass detectors, or bins narrower than "
            "the lines, and a wide range of |Q|, or check incident_energy."
        )
    return (
        f"The crystal explains {found.n_matched} of {found.n_lines} Bragg lines, "
        f"{found.n_strong_matched} of the {found.n_strong} strongest, which may be "
        "chance: it must explain most of these. |Q| is left as it is. Check that the "
        "crystal is the sample, its lattice and incident_energy."
    )


def _doubts(
    moduli: ModuliFit, lattice: Array, incident: float | None, k: float | None
) -> list[str]:
    """Return a warning where the lattice is more likely wrong than the instrument."""
    scale, std, least = moduli.scale, moduli.scale_std, _WRONG
    if "scale" in moduli.model:
        scale, std, least = moduli.terms[0], moduli.terms_std[0], _DOUBTFUL
    if abs(scale - 1) <= max(least, 3 * std):
        return []
    energy = ""
    if k is not None and incident is not None:
        energy = f" incident_energy were {incident / scale**2:.4g} meV, or as if"
    lengths = ", ".join(f"{each / scale:.4f}" for each in cell_lengths(lattice))
    beside = ""
    if "offset" in moduli.model:
        size, unit = moduli.terms[1], "1/Angstrom"
        if k is not None:
            size, unit = float(np.rad2deg(size)), "degrees of scattering angle"
        beside = f" beside an offset of {size:+.2g} {unit}"
    return [
        f"|Q| is wrong by {100 * (scale - 1):+.1f} %{beside}, more than instruments "
        f"usually are, as if{energy} lattice parameters of the crystal were {lengths} "
        "Angstrom: the lattice must be that measured at the temperature of the sample. "
        'Pass (lattice, positions, symbols) with it, or correct_q="none", or check '
        "incident_energy."
    ]


def _of_holders(
    lines: Sequence[BraggLine],
    pattern: Pattern,
    moduli: ModuliFit | None,
    k: float | None,
    holders: Sequence[Holder],
) -> list[FoundHolder]:
    if not lines:
        return []
    q = np.array([line.q for line in lines])
    if moduli is None:
        free, uncertainty = np.ones(len(lines), dtype=bool), _UNCALIBRATED
    else:
        free, uncertainty = moduli.reflection < 0, _UNCALIBRATED / 2
        q = moduli.corrected(q, k)
    return find_holders(lines, q, free, pattern, holders, uncertainty)


def _resolution(
    measurement: Measurement, calibrated: Any, wanted: Any, line: ElasticFit
) -> tuple[float | Callable, list[str]]:
    """Return the resolution against energy, and a warning if it is a guess."""
    incident = calibrated.incident_energy
    indirect = measurement.details.get("final_energy") is not None
    if wanted is None and callable(measurement.energy_resolution):
        wanted = measurement.energy_resolution
    if wanted is None and indirect:
        return line.width, [
            "The energy resolution is taken as constant, "
            f"{line.width:.3g} meV as of the elastic line, which indirect geometry "
            'nearly has. Pass resolution="constant" to say that it is meant, or a '
            "number of meV."
        ]
    if wanted is None:
        return line.width, [
            "The energy resolution is taken as constant, "
            f"{line.width:.3g} meV as of the elastic line; of direct geometry it is "
            'narrower at energy loss. Pass resolution="direct_geometry", or the '
            'settings of the chopper, resolution={"instrument": ..., '
            '"chopper_frequency": ...}; "constant" says that it is meant.'
        ]
    if isinstance(wanted, str) and wanted == "constant":
        return line.width, []
    if _is_width(wanted):
        return float(wanted), []
    if incident is None and indirect:
        raise ValueError(
            'resolution must be "constant" or a number of meV for indirect geometry, '
            f"got {wanted!r}."
        )
    if incident is None:
        raise ValueError(
            "incident_energy must be known for a resolution against energy, got None. "
            "Pass measurement.replace(incident_energy=...)."
        )
    return scaled_resolution(wanted, line.width, incident_energy=incident), []


def _of_moduli(
    lines: Sequence[BraggLine],
    expected: Expected | None,
    moduli: ModuliFit | None,
    story: ModuliStory | None,
    k: float | None,
    incident: float | None,
    coarse: float,
) -> dict[str, float]:
    """Return what is known of |Q|, by the names in the result."""
    names = ("q_scale", "q_offset", "incident_energy", "lattice_scale")
    if moduli is None or expected is None or story is None:
        return {name + end: np.nan for name in names for end in ("", "_std")}
    used = moduli.used
    q, std = np.array([(line.q, line.q_std) for line in lines])[used].T
    tau = expected.q[moduli.reflection[used]]
    right = mean_with_excess(moduli.corrected(q, k) / tau, std / tau)
    # few lines tell their scatter badly, and wide bins their places
    error = np.hypot(right.std[0], coarse / np.linalg.norm(tau))
    error = float(np.hypot(error, right.excess)) * small_sample(len(tau), 1)
    turn = 1.0 if k is None else 180 / np.pi
    scale, scale_std = story.best.terms[0], story.best.terms_std[0]
    if "scale" not in story.best.model:
        scale_std = moduli.scale_std
        if not story.best.model:
            scale = moduli.scale
    energy = np.nan if k is None or incident is None else incident
    return {
        "q_scale": moduli.scale,
        "q_scale_std": moduli.scale_std,
        "q_offset": moduli.terms[1] * turn,
        "q_offset_std": moduli.terms_std[1] * turn,
        "incident_energy": energy / scale**2,
        "incident_energy_std": 2 * energy * scale_std / scale**3,
        "lattice_scale": 1 / float(right.values[0]),
        "lattice_scale_std": error,
    }
