"""Plain texts: every way of writing the same numbers gives the same measurement."""

import re

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from tables_files import points, write_image, write_points

from skphonon import PathGrid, SpectrumGrid, read
from skphonon.instrument import AngleGrid, Measurement, MeasurementWarning
from skphonon.io._kinds import identify
from skphonon.io._labels import label
from skphonon.io.frames import from_pandas, to_pandas
from skphonon.io.text import read_text
from skphonon.physics.constants import MEV_PER_INVERSE_CM, MEV_PER_THZ

ENERGY, Q = np.array([-5.0, 0.5, 5.0, 12.5, 20.0]), np.arange(0.5, 4.1, 0.5)
GRID = SpectrumGrid(ENERGY, Q, incident_energy=25.0, two_theta=(5, 120))
RNG = np.random.default_rng(0)
IMAGE = np.where(GRID.mask, RNG.uniform(1, 2, GRID.shape).round(6), np.nan)
ERROR = np.where(GRID.mask, RNG.uniform(0.1, 0.2, GRID.shape).round(6), np.nan)
ROWS = points(GRID, IMAGE, ERROR)
HEADER = "# |Q| (1/A)  E (meV)  S(Q,E)  error"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.txt"


def measured():
    return Measurement.from_arrays(Q, ENERGY, IMAGE, ERROR)


def check(found, *, error=True):
    assert_allclose(found.grid.energy, ENERGY, atol=1e-9)
    assert_allclose(found.grid.q, Q, atol=1e-9)
    assert_allclose(found.grid.to_image(found.data)[0], IMAGE, rtol=1e-9)
    if error:
        assert_allclose(found.grid.to_image(found.error)[0], ERROR, rtol=1e-9)
    else:
        assert found.error is None


# Points


@pytest.mark.parametrize("delimiter", [" ", "   ", "\t", ",", ";", ", ", " \t "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiters_are_found(path, delimiter, end):
    write_points(path, ROWS, HEADER, delimiter=delimiter, end=end)
    assert identify(path).key == "table"
    found = read_text(path)
    check(found)
    assert (found.quantity, found.units, found.source) == ("sqe", None, str(path))
    assert found.details["header"] == HEADER.strip("# ")


@pytest.mark.parametrize("delimiter", [" ", "\t", ";", "; "])
def test_a_decimal_comma_is_found(path, delimiter):
    write_points(path, ROWS, HEADER, delimiter=delimiter, decimal=",")
    assert identify(path).key == "table"
    check(read_text(path))


@pytest.mark.parametrize(
    ("number", "change"),
    [
        ("{:.9E}", lambda text: text.replace("E", "D")),
        ("{:.9e}", lambda text: text.replace("e", "d")),
        ("{:.9e}", lambda text: text.replace("e+00", "+000").replace("e-01", "-001")),
        ("{:+.8f}", str),
        ('"{:.9f}"', str),
    ],
)
def test_numbers_of_other_programs(path, number, change):
    delimiter = "," if '"' in number else " "
    write_points(path, ROWS, "", number=number, delimiter=delimiter)
    path.write_text(HEADER + "\n" + change(path.read_text()))
    assert identify(path).key == "table"
    check(read_text(path))


@pytest.mark.parametrize(
    "header",
    [
        "# |Q| (1/A)  E (meV)  S(Q,E)  error",
        "Q (Å⁻¹),Energy transfer (meV),S(Q,ω),Err",
        "% q[A^-1]\tdeltaE[meV]\tI\tsigma",
        '"Q / 1/Angstrom"; "E / meV"; "chi\'\'"; "std"',
        "# q in 1/Å, E in meV\n! Q   DeltaE   Signal   Uncertainty",
        "q energy intensity error\n1/A meV arb.u. arb.u.",
        "# Momentum transfer (Å^{-1})  ħω (meV)  Counts  Error_bar",
        "modq_1/A en_mev counts err",
        "; lines of comment\n\n; more, with 3 numbers\n; Q(1/A) E(meV) I dI",
        "* Ei = 25 meV, energy in meV and q in 1/Angstrom\nQ E I err",
    ],
)
def test_names_and_units_are_found(path, header):
    write_points(path, ROWS, header)
    found = read_text(path)
    check(found)
    assert found.quantity == (
        "chi" if "chi" in header else "sqe" if "S(" in header else None
    )
    assert found.incident_energy == (25 if "Ei" in header else None)
    units = {"Counts": "counts", "counts": "counts", "arb": "arb.u."}
    assert found.units == next((units[k] for k in units if k in header), None)


@pytest.mark.parametrize(
    ("energy_unit", "q_unit", "factors"),
    [
        ("THz", "1/nm", (MEV_PER_THZ, 0.1)),
        ("cm-1", "nm^-1", (MEV_PER_INVERSE_CM, 0.1)),
        ("cm^{-1}", "nm⁻¹", (MEV_PER_INVERSE_CM, 0.1)),
        ("1/cm", "Å-1", (MEV_PER_INVERSE_CM, 1)),
        ("µeV", "inv. Angstrom", (1e-3, 1)),
        ("ueV", "Ang^-1", (1e-3, 1)),
        ("eV", "1/Å", (1e3, 1)),
    ],
)
@pytest.mark.parametrize("given", [False, True])
def test_units_are_converted(path, energy_unit, q_unit, factors, given):
    header = f"q ({q_unit}), E ({energy_unit}), I, error"
    rows = ROWS / [factors[1], factors[0], 1, 1]
    write_points(path, rows, "q, E, I, error" if given else header, delimiter=",")
    if given:
        with pytest.raises(
            ValueError, match=r"a\.txt must tell the unit of energy and of q\."
        ):
            read_text(path)
        check(read_text(path, energy_unit=energy_unit, q_unit=q_unit))
    else:
        check(read_text(path))


def test_latin_1_and_a_byte_order_mark(path):
    rows = ROWS * [1, 1e3, 1, 1]
    write_points(path, rows, "q (1/Å), E (µeV), I, error", delimiter=",")
    text = path.read_text(encoding="utf-8")
    for encoding in ("latin-1", "utf-8-sig"):
        path.write_bytes(text.encode(encoding))
        check(read_text(path))


def test_another_unit_than_in_the_text_is_said(path):
    write_points(path, ROWS, HEADER)
    with pytest.warns(MeasurementWarning, match="'THz' is another unit than 'meV'"):
        found = read_text(path, energy_unit="THz")
    assert_allclose(found.grid.energy, ENERGY * MEV_PER_THZ)


def test_the_unit_of_the_incident_energy_is_not_that_of_the_axis(path):
    write_points(path, ROWS, "# Ei = 25 meV\n# q (1/A)  E  I  error")
    with pytest.raises(
        ValueError,
        match=r"must tell the unit of energy\. If .*\(path, energy_unit='meV'\)",
    ):
        read_text(path)


@pytest.mark.parametrize(
    "comment",
    ["resolution 30 ueV", "energy resolution in ueV", "incident energy in meV",
     "Gap at 3 THz", "E from 0 to 50 meV", "E_f (meV) 14", "S(Q,E) in 1/meV"],
)  # fmt: skip
def test_a_unit_of_something_else_is_not_that_of_the_energies(path, comment):
    write_points(path, ROWS, f"# {comment}\n# Q (1/A) E I err")
    with pytest.raises(ValueError, match="must tell the unit of energy"):
        read_text(path)
    check(read_text(path, energy_unit="meV"))
    write_points(path, ROWS, f"# {comment}\n# Q (1/A) E (meV) I err")
    check(read_text(path))


@pytest.mark.parametrize(
    "comment",
    ["energy in meV", "Energies are in meV", "hw (meV)", "DeltaE/meV",
     "energy unit: meV", "Unit of energy transfer = meV", "E, meV"],
)  # fmt: skip
def test_a_comment_tells_the_unit_of_the_energies(path, comment):
    write_points(path, ROWS, f"# resolution 30 ueV\n# {comment}\n# Q (1/A) E I err")
    check(read_text(path))


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("Ei = 50.5 meV", 50.5),
        ("Ei=50", 50),
        ("E_i: 1.2e2 meV", 120),
        ("Incident energy (meV) 50", 50),
        ("incident energy in ueV = 25000", 25),
        ("Ei = 50000 µeV, 300 Hz", 50),
        ("Ei = 12 THz", 12 * MEV_PER_THZ),
        ("Ei = 0.05 eV", 50),
        ("Ei = 400 1/cm", 400 * MEV_PER_INVERSE_CM),
        ("Ei = 400 cm^-1", 400 * MEV_PER_INVERSE_CM),
        ("Ei = 50 ± 0.5 meV", 50),
        ("Ei = 20-60 meV", None),
        ("Ei = 20 - 60 meV", None),
        ("Ei = 20 to 60 meV", None),
        ("Ei = 20 to 60", None),
        ("Ei = 25, 50 meV", None),
        ("Ei = 25 meV and 50 meV", None),
        ("Ei - 12", None),
        ("column Ei 3", None),
        ("Ei = 4 A", None),
        ("Ei = 50,5 meV", None),
        ("Ei = -5", None),
    ],
)
def test_incident_energy_of_a_comment(path, comment, expected):
    rows = [[1.0, 2.0, 3.0], [1.5, 2.0, 4.0]]
    write_points(path, rows, f"# {comment}\n# Q (1/A) E (meV) I")
    if expected is None:
        assert read_text(path).incident_energy is None
    else:
        assert_allclose(read_text(path).incident_energy, expected)


def test_incident_energy_with_a_decimal_comma(path):
    write_points(path, ROWS, "# Ei = 50,5 meV\n" + HEADER, decimal=",")
    assert read_text(path).incident_energy == 50.5
    assert read_text(path, incident_energy=60.0).incident_energy == 60


@pytest.mark.parametrize("order", [[3, 1, 0, 2], [1, 0, 2, 3]])
def test_columns_in_any_order_and_among_others(path, order):
    rows = np.column_stack([ROWS, np.arange(len(ROWS))])[:, [*order, 4]]
    names = np.array(["q", "energy", "intensity", "error"])[order]
    write_points(path, rows, "")
    with pytest.raises(ValueError, match=r"meaning of the 5 columns .* Pass columns"):
        read_text(path)
    units = {"energy_unit": "meV", "q_unit": "1/A"}
    check(read_text(path, columns=[*names, None], **units))
    spelled = [{"q": "|Q| (1/A)", "energy": "E (meV)"}.get(n, n) for n in names]
    check(read_text(path, columns=[*spelled, ""]))


def test_rows_in_any_order_and_without_errors(path):
    shuffled = RNG.permutation(ROWS)[:, :3]
    write_points(path, shuffled, "Q(1/A) E(meV) I")
    check(read_text(path), error=False)


@pytest.mark.parametrize("sign", ["nan", "NaN", "NA", "--", "-", "****", "", "1.#QNAN"])
def test_missing_values(path, sign):
    write_points(path, ROWS, HEADER, delimiter=",")
    lines = path.read_text().splitlines()
    cells = lines[3].split(",")
    for place in (2, 3):
        cells[place] = sign
    lines[3] = ",".join(cells)
    path.write_text("\n".join(lines))
    found = read_text(path)
    seen = np.isfinite(IMAGE.ravel())
    lost = np.flatnonzero(seen)[2]
    assert np.isnan(found.data[0, lost])
    assert np.isfinite(found.data).sum() == seen.sum() - 1
    cells[1] = "nan"  # a place that nobody needs
    path.write_text("\n".join([*lines[:3], ",".join(cells), *lines[4:]]))
    assert_array_equal(read_text(path).data, found.data)


def test_blocks_comments_and_a_delimiter_at_the_end(path):
    write_points(path, ROWS, HEADER.replace("  ", ","), delimiter=",")
    lines = path.read_text().splitlines()
    lines = [lines[0], *(f"{line}," for line in lines[1:])]
    lines[4:4] = ["", "# a block", "  "]
    path.write_text("\n".join(lines) + "\n# 3 files\n")
    check(read_text(path))
    lines[6] = lines[6].rstrip(",") + " # odd"
    path.write_text("\n".join(line.rstrip(",") for line in lines))
    check(read_text(path))


@pytest.mark.parametrize(
    "name",
    [
        "variance",
        "var",
        "\u03c3^2",
        "err^2",
        "sigma2",
        "Sigma^2",
        "error²",
        "Variance (counts^2)",
    ],
)
def test_variances_become_errors(path, name):
    rows = ROWS.copy()
    rows[:, 3] **= 2
    write_points(path, rows, f"Q (1/A),E (meV),I,{name}", delimiter=",")
    check(read_text(path))
    write_points(path, rows, "")
    check(read_text(path, columns=["Q (1/A)", "E (meV)", "intensity", name]))


@pytest.mark.parametrize("name", ["error (%)", "err [%]", "sigma in percent", "error%"])
def test_errors_in_percent(path, name):
    rows = ROWS.copy()
    rows[:, 3] *= 100 / rows[:, 2]
    write_points(path, rows, f"Q (1/A),E (meV),I,{name}", delimiter=",")
    check(read_text(path))
    write_points(path, rows, "Q E I err\n1/A meV counts %")
    check(read_text(path))


@pytest.mark.parametrize("name", ["monitor", "Mon", "monitor_1", "Monitor (counts)"])
def test_counts_that_no_monitor_divides_are_said(path, name):
    rows = np.column_stack([ROWS, np.full(len(ROWS), 1e4)])
    write_points(path, rows, f"Q (1/A),E (meV),counts,err,{name}", delimiter=",")
    with pytest.warns(MeasurementWarning, match="were not divided by '[mM]on"):
        check(read_text(path))
    check(read_text(path, columns=["Q (1/A)", "E (meV)", "counts", "err", None]))
    write_points(path, rows, f"Q (1/A),E (meV),S(Q E),err,{name}", delimiter=",")
    check(read_text(path))


def test_zero_errors_are_none(path):
    write_points(path, ROWS * [1, 1, 1, 0], HEADER)
    assert np.isnan(read_text(path).error).all()


def test_wavevectors_become_a_path(path):
    hkl = np.array([[1, 0, 0.5], [0, 0, 0], [1, 0, 0.25], [-1, 0, 0.25]])
    energies = np.array([1.0, 2.0, 4.0])
    rows = [[*q, e, 10 * i + e] for i, q in enumerate(hkl) for e in energies]
    write_points(path, rows[:-1], "h, k, l, E (THz), S(Q,E)", delimiter=",")
    found = read_text(path, temperature=5)
    assert isinstance(found.grid, PathGrid)
    assert_array_equal(found.grid.wavevectors, hkl)  # in their order
    assert_allclose(found.grid.energy, energies * MEV_PER_THZ)
    image = found.grid.to_image(found.data)[0]
    assert_array_equal(image[:, :3], energies[:, None] + [0, 10, 20])
    assert np.isnan(image[2, 3])
    assert found.temperature == 5


def test_a_cut_needs_what_it_was_cut_at(path):
    rows = [[1.0, 5.0, 1.0], [2.0, 6.0, 1.0], [3.0, 4.0, 1.0]]
    write_points(path, rows, "E (meV) I err")
    with pytest.raises(
        ValueError, match=r"column of q, got 'E \(meV\)', .* or q=\.\.\."
    ):
        read_text(path)
    found = read_text(path, q=1.5)
    assert_array_equal(found.grid.q, [1.5])
    assert_array_equal(found.data, [[5, 6, 4]])
    found = read_text(path, q=[1, 0, 0.5])
    assert_array_equal(found.grid.wavevectors, [[1, 0, 0.5]])
    write_points(path, rows, "Q (1/A) I err")
    found = read_text(path, energy=12.0)
    assert_array_equal(found.grid.energy, [12])
    assert_array_equal(found.grid.q, [1, 2, 3])


# Images


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(
    ("corner", "turned", "rows"),
    [
        ("E (meV)\\Q (1/A)", False, None),
        ("Q (1/A) \\ Energy (meV)", True, None),
        ("energy (meV)", False, None),
        ("|Q|", True, None),
        ("", False, None),
        ("", True, "q"),
        ("0", False, None),
        ("nan", True, None),
    ],
)
def test_images_with_axes(path, delimiter, corner, turned, rows):
    axes = (Q, ENERGY, IMAGE.T) if turned else (ENERGY, Q, IMAGE)
    write_image(path, *axes, corner=corner, delimiter=delimiter)
    assert identify(path).key == "table"
    units = {"energy_unit": "meV", "q_unit": "1/A"}
    check(read_text(path, rows=rows, **units), error=False)
    if "\\" in corner:
        check(read_text(path), error=False)


def test_an_image_of_pandas(path):
    frame = pd.DataFrame(IMAGE, index=pd.Index(ENERGY, name="energy"), columns=Q)
    frame.to_csv(path)
    check(read_text(path, energy_unit="meV", q_unit="1/A"), error=False)


@pytest.mark.parametrize("sign", ["# ", ""])
def test_an_axis_in_a_line_that_is_shorter(path, sign):
    """As numpy.savetxt writes it with a header, and other programs without."""
    across = " ".join(f"{q:g}" for q in Q)
    rows = np.column_stack([ENERGY, IMAGE])
    np.savetxt(path, rows, header=f"energy in meV, Q in 1/Angstrom\n{sign}{across}",
               comments="# " if sign else "", fmt="%.9g")  # fmt: skip
    found = read_text(path)
    check(found, error=False)


def test_neither_axis_tells_what_it_is(path):
    write_image(path, ENERGY[2:], Q, IMAGE[2:], corner="0")
    with pytest.raises(ValueError, match="Pass rows='energy' or rows='q'"):
        read_text(path)
    units = {"energy_unit": "meV", "q_unit": "1/A"}
    assert_array_equal(read_text(path, rows="energy", **units).grid.q, Q)
    assert_array_equal(read_text(path, rows="q", **units).grid.energy, Q)


def test_an_image_without_axes(path, tmp_path):
    np.savetxt(path, IMAGE.T, delimiter=",", fmt="%.9g")
    np.savetxt(tmp_path / "e.txt", ERROR.T)
    for energy, q in ((ENERGY, Q), (np.append(ENERGY - 1, 30), Q)):
        found = read_text(path, energy=energy, q=q, error_path=tmp_path / "e.txt")
        if energy is ENERGY:
            check(found)
    assert_array_equal(found.details["edges"]["energy"], energy)
    with pytest.raises(ValueError, match=r"must have shape \(4, 8\), .*got \(8, 5\)"):
        read_text(path, energy=ENERGY[1:], q=Q)
    path.write_text("\n".join(["1 2 3", "4 5 6"]))
    found = read_text(path, energy=[1, 2], q=np.eye(3))
    assert_array_equal(found.data, [[1, 2, 3, 4, 5, 6]])


def test_the_axes_of_errors_are_heeded(path, tmp_path):
    units = {"energy_unit": "meV", "q_unit": "1/A", "error_path": tmp_path / "e.txt"}
    write_image(path, ENERGY, Q, IMAGE, corner="energy")
    order = [3, 0, 4, 1, 2]
    write_image(tmp_path / "e.txt", Q[::-1], ENERGY[order], ERROR[order, ::-1].T,
                corner="q")  # fmt: skip
    check(read_text(path, **units))
    for energy, q in ((ENERGY + 1, Q), (ENERGY, Q * 1.01), (ENERGY[:-1], Q)):
        write_image(
            tmp_path / "e.txt", energy, q, ERROR[: len(energy)], corner="energy"
        )
        with pytest.raises(ValueError, match=r"e\.txt must have the axes of .*a\.txt"):
            read_text(path, **units)


def test_published_spin_waves(data_folder):
    """An image without axes, 121 energies at 217 points of a path."""
    folder = data_folder / "la2nio4"
    energy = np.loadtxt(folder / "Elist_path2_woBG.csv")
    hkl = np.loadtxt(folder / "Qlist_path2_woBG.csv", delimiter=",").T
    path = folder / "Sqw_path2.csv"
    found = read_text(
        path, q=hkl, energy=energy, quantity="sqe", error_path=folder / "Err_path2.csv"
    )
    assert found.grid.shape == (121, 217)
    expected = np.loadtxt(path, delimiter=",")
    assert_array_equal(found.grid.to_image(found.data)[0], expected)
    assert (found.error[np.isfinite(found.error)] > 0).all()
    with pytest.raises(
        ValueError, match=r"meaning of the 217 columns .* both q and en"
    ):
        read_text(path)


# What is refused


def text(*lines):
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("content", "given", "message"),
    [
        (text("1 2 3", "1 3 4"), {}, "meaning of the 3 columns .* Pass columns, such"),
        (text("1 2", "2 3"), {"rows": "q"}, "meaning of the 2 columns"),
        (text("q E I", "1 2 3", "1 2 4"), {}, r"each point once, .* E = 2 meV 2 times"),
        (
            text("q E I", *(f"{i} {i**2} 3" for i in range(9))),
            {},
            "points of a grid, got 9 points at 9 places in Q and 9 energies",
        ),
        (text("q E I", "1 2 3", "1 2"), {}, "must hold 3 numbers in line 3, .* got 2"),
        (text("q E I", "1 2 3", "2 3 a"), {}, r"numbers in line 3, got '2 3 a'.* #"),
        (text("q E I I", "1 2 3 4", "1 3 4 5"), {}, "one column of intensity, got 'I'"),
        (text("x E I", "1 2 3", "1 3 4"), {}, r"column of q, got 'E', 'I' that"),
        (text("q E I", "1 2 3", "nan 3 4"), {}, "got 1 rows of 2 without Q or energy"),
        (text("1 2 3", "1 3 4"), {"columns": "qe"}, "name each of the 3 columns"),
        (text("1 2 3", "1 3 4"), {"columns": ["q", "E"]}, "name each of the 3 colu"),
        (text("1 2 3", "1 3 4"), {"columns": ["q", "E", "x"]}, "or None, got x"),
        (text("1 2 3", "1 3 4"), {"rows": "x"}, "rows must be energy or q, got 'x'"),
        (text("q E I", "1 2 3", "1 3 4"), {"q": 1.0}, "q must not be given, as"),
        (text("E I", "2 3", "3 4"), {"q": [1, 2]}, r"one number, .* got shape \(2,\)"),
        (text(",1,2,3", "2,3,4,5", "3,4,5,6"), {"energy_unit": "K", "rows": "q"},
         "energy_unit must be meV, ueV, eV, THz, GHz or 1/cm, got 'K'"),
        (text("q (rlu) E (meV) I", "1 2 3", "1 3 4"), {},
         "must tell the unit of q, got 'rlu'"),
        (text("q E I", "-1 2 3", "1 3 4"), {"energy_unit": "meV", "q_unit": "1/A"},
         "q must not be negative"),
        (text("# Q E", "a 2 3", "b 3 4"), {}, "must hold rows of numbers, .* '# Q E'"),
        (text(*["1"] * 30), {}, "must hold rows of numbers, two or more in a row"),
        (text("# 1 2 3", "0 4 5 6", "1 5 6 7"), {"q": [1], "energy": [2]},
         "must have no axes if q and energy are given"),
        (text("e q I", "1 2 nan", "2 2 nan"), {"energy_unit": "meV", "q_unit": "1/A"},
         "must have a finite number somewhere"),
        ("", {}, "must be a table of numbers in text, got an empty file"),
        ("<html>", {}, "got a web page"),
    ],
)  # fmt: skip
def test_what_is_refused(path, content, given, message):
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_text(path, **given)


@pytest.mark.parametrize(
    "row",
    ["1 5 <0.1 0.1", "1.0* 5 2 0.1", "0x10 5 2 0.1", "1 5 0.1", "1 5 2 0.1 3",
     "a 5 2 0.1", "1 5 2 0.1f", "1 5 n.d. 0.1"],
)  # fmt: skip
@pytest.mark.parametrize("header", [HEADER, "q energy I err\n1/A meV arb.u. arb.u."])
def test_no_row_is_lost_above_the_first_good_one(path, row, header):
    rows = "1 6 2 0.1\n2 5 3 0.1\n2 6 4 0.1\n"
    path.write_text(f"{header}\n# a comment of 3 words\n{row}\n{rows}")
    line = header.count("\n") + 3
    with pytest.raises(ValueError, match=rf"in line {line}, .*Begin"):
        read_text(path)
    if row[0] == "a":
        return
    path.write_text(f"{row}\n{rows}")
    with pytest.raises(ValueError, match=r"line 1, got .*Begin what is no row with #"):
        read_text(path, columns=["Q (1/A)", "E (meV)", "I", "err"])


def test_no_row_of_an_image_is_lost(path):
    path.write_text("E\\Q,0.5,1,1.5\n-1,<2,3,4\n1,2,3,4\n2,3,4,5\n")
    for rows in (None, "energy"):
        with pytest.raises(ValueError, match=r"line [12], got .*Begin what is no row"):
            read_text(path, rows=rows, energy_unit="meV", q_unit="1/A")


def test_words_above_the_names_are_no_rows(path):
    write_points(path, ROWS, "Sample 3 at 300 K\n10 scans\nq (1/A) E (meV) I err")
    check(read_text(path))


@pytest.mark.parametrize("more", ["", " , DX"])
def test_a_cut_of_mantid(path, more):
    rows = np.array([[1.0, 5.0, 0.5, 0.0], [2.0, 6.0, 0.7, 0.0], [3.0, 4.0, 0.6, 0.0]])
    names = f"# X , Y , E{more}"
    write_points(path, rows if more else rows[:, :3], names, delimiter=",")
    with pytest.raises(ValueError, match=r"column of energy, got 'Y', 'E' .*columns"):
        read_text(path, q=1.5)
    columns = ["E (meV)", "intensity", "error", *([None] if more else [])]
    found = read_text(path, q=1.5, columns=columns)
    assert_array_equal(found.data, [[5, 6, 4]])
    assert_array_equal(found.error, [[0.5, 0.7, 0.6]])


@pytest.mark.parametrize(
    "names", ["# E (meV)  |Q| (1/A)  S(Q,E)  error", "# |Q| (1/A)  E (THz)  S  error"]
)
def test_other_columns_of_a_later_block(path, names):
    write_points(path, ROWS, HEADER)
    lines = path.read_text().splitlines()
    lines[4:4] = [names]
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"same columns in all rows, got .* in line 5"):
        read_text(path)
    lines[4] = HEADER
    path.write_text("\n".join(lines))
    check(read_text(path))


def test_another_unit_of_a_later_block(path):
    write_points(path, ROWS, HEADER)
    lines = path.read_text().splitlines()
    lines[4:4] = ["# resolution 30 ueV", "# energy in THz"]
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match="energy in one unit, got 'thz' in line 6"):
        read_text(path)
    check(read_text(path, energy_unit="meV"))


@pytest.mark.parametrize("part", ["Ei ", "E (meV) ", "ei (", "Ei" + " " * 4000, "E "])
def test_a_long_comment_is_no_trouble(path, part):
    line = (part * (2_000_000 // len(part)))[:2_000_000]
    write_points(path, ROWS, f"# {line}\n{HEADER}")
    path.write_text(path.read_text() + f"# {line}\n")
    check(read_text(path))


def test_a_line_without_end(path):
    path.write_text("1 2 3\n" + "1 " * (1 << 21))
    with pytest.raises(ValueError, match="lines of less than 4194304 characters"):
        read_text(path)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be a file, found none"):
        read_text(tmp_path / "a")


def test_tables_of_pandas(path):
    """With the index as first column, which has no name."""
    frame = pd.DataFrame(ROWS, columns=["q", "E (meV)", "S(Q,E)", "err"])
    frame.to_csv(path)
    check(read_text(path, q_unit="1/A"))
    frame.to_csv(path, sep=";", decimal=",", index=False, quoting=2)
    check(read_text(path, q_unit="1/A"))


@pytest.mark.parametrize("header", ["q,E (meV),I,error", '"q","E (meV)","I","error"'])
def test_decimal_commas_in_quotes(path, header):
    rows = [",".join(f'"{x:.9f}"'.replace(".", ",") for x in row) for row in ROWS]
    path.write_text("\n".join([header, *rows]))
    assert identify(path).key == "table"
    check(read_text(path, q_unit="1/A"))


def test_the_own_table_is_in_own_units(path):
    original = measured()
    to_pandas(original).to_csv(path, index=False)
    with pytest.raises(ValueError, match="must tell the unit of energy and of q"):
        read_text(path)  # nothing marks it: anybody names columns so
    to_pandas(original).to_csv(path)
    check(read_text(path))
    to_pandas(original.replace(error=None)).to_csv(path, sep="\t")
    check(read_text(path), error=False)
    path.write_text("# energy in THz\n" + path.read_text())
    assert_allclose(read_text(path).grid.energy, ENERGY * MEV_PER_THZ)


def test_several_spectra_in_a_table(path):
    one = measured()
    several = Measurement(np.tile(one.data, (2, 1)), one.grid)
    to_pandas(several).to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"one spectrum, got .*from_pandas\(pandas\."):
        read(path)
    found = from_pandas(pd.read_csv(path))
    assert_array_equal(found.data, several.data)


def test_another_order_tells_no_units(path):
    to_pandas(measured())[["q", "energy", "intensity"]].to_csv(path)
    with pytest.raises(
        ValueError, match=r"skphonon\.io\.read_text\(path, energy_unit="
    ):
        read(path)


@pytest.mark.parametrize(
    ("comment", "temperature"),
    [
        ("T = 300 K", 300.0),
        ("Sample temperature: 5.5 K, Ei = 25 meV", 5.5),
        ("Temperature (K) = 12", 12.0),
        ("T = 300", None),
        ("T = 5 K and T = 300 K", None),
        ("T = 5 K to 300 K", None),
        ("T = 300 K, of which 5 K was subtracted", None),
        ("start = 5 K", None),
        ("T = -5 K", None),
        ("T (K) = 1e2", None),
    ],
)
def test_the_temperature_of_a_comment(path, comment, temperature):
    write_points(path, ROWS, f"# {comment}\n{HEADER}")
    assert read_text(path).temperature == temperature
    assert read_text(path, temperature=7).temperature == 7


def test_a_simulated_spectrum_comes_back(path):
    """Through the text of another program, in its units."""
    rows = points(GRID, IMAGE, ERROR) / [1, MEV_PER_THZ, 1, 1]
    np.savetxt(path, rows, header="Q(1/A) E(THz) S(Q,E) err", fmt="%.17g")
    found = read_text(path, incident_energy=25.0)
    assert_array_equal(found.data, IMAGE.reshape(1, -1))
    assert_array_equal(found.grid.mask, np.isfinite(IMAGE))


@pytest.mark.parametrize(
    "name",
    ["\u03c3", "deltaI", "DeltaI", "ΔI", "unc", "yerr", "S(Q,E) error", "S(Q,E)_err",
     "I (error)", "sigma(I)"],
)  # fmt: skip
def test_errors_under_more_names(path, name):
    write_points(path, ROWS, header=f"q (1/A),E (meV),S(Q,E),{name}", delimiter=",")
    check(read_text(path))


@pytest.mark.parametrize("name", ["E_I", "my own", "bars"])
def test_what_may_be_errors_is_said(path, name):
    write_points(path, ROWS, header=f"q (1/A),E (meV),S(Q,E),{name}", delimiter=",")
    with pytest.warns(MeasurementWarning, match=f"does not use '{name}'") as caught:
        found = read_text(path)
    assert (found.error, caught[0].filename) == (None, __file__)
    columns = ["q", "energy", "intensity", None]
    read_text(path, columns=columns, q_unit="1/A", energy_unit="meV")
    frame = pd.DataFrame(ROWS, columns=["q", "E", "I", name])
    with pytest.warns(MeasurementWarning, match=f"does not use '{name}'"):
        from_pandas(frame)


@pytest.mark.parametrize(
    ("name", "quantity", "unit"),
    [
        ("chi''", "chi", None),
        ("χ''(Q,E)", "chi", None),
        ("chi_imag", "chi", None),
        ("Im chi", "chi", None),
        ("chi (imag)", "chi", None),
        ("S(q)", None, None),
        ("I(Q,E)", None, None),
        ("S(Q,E) (1/meV)", "sqe", "1/meV"),
        ("S(Q,E) 1/meV", "sqe", "1/meV"),
        ("Intensity (arbitrary)", None, "arbitrary"),
    ],
)
def test_what_stands_beside_an_intensity(name, quantity, unit):
    found = label(name)
    assert (found.meaning, found.quantity, found.unit) == ("intensity", quantity, unit)


@pytest.mark.parametrize(
    "name", ["chi'", "chi_real", "Re chi", "chi (real)", "GDOS", "dcs", "log10(I)"]
)
def test_an_unknown_intensity_is_named(path, name):
    write_points(path, ROWS[:, :3], header=f"q (1/A),E (meV),{name}", delimiter=",")
    with pytest.raises(ValueError, match=re.escape(f"not {name!r}. Pass")):
        read_text(path)


def test_missing_indices_are_named(path):
    write_points(path, ROWS, header="h,E (meV),I,err", delimiter=",")
    with pytest.raises(ValueError, match=r"got 'h', .* and no k and no l"):
        read_text(path)


def test_angles_in_a_table(path):
    grid = AngleGrid(ENERGY, [10.0, 20.0], incident_energy=80.0)
    original = Measurement(np.arange(grid.n_pixels), grid)
    to_pandas(original).to_csv(path)
    with pytest.raises(ValueError, match=r"got angles, 'two_theta'.*from_pandas"):
        read_text(path, incident_energy=80.0)
    found = from_pandas(pd.read_csv(path), incident_energy=80.0)
    assert_array_equal(found.data, original.data)


def test_the_mark_of_masked_numbers(path):
    rows = ROWS.copy()
    rows[0, 2] = -1e30
    write_points(path, rows, header="q (1/A),E (meV),S(Q,E),error", delimiter=",")
    with pytest.warns(MeasurementWarning, match=r"intensity holds -1e\+30") as caught:
        found = read_text(path)
    assert len(caught) == 1
    assert np.nanmin(found.data) > -1


def test_spectra_of_mantid(path):
    """As SaveAscii writes several, each after its number."""
    blocks = ["# X , Y , E", "1", "1,2,3", "2,3,4", "3,4,5", "2", "1,2,3", "2,3,4"]
    path.write_text("\n".join(blocks))
    with pytest.raises(ValueError, match=r"line 6, as Mantid's .* SaveNexusProcessed"):
        read(path)


def test_wavevectors_are_in_rlu(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("h (1/A),k (1/A),l (1/A),E (meV),I\n1,0,0,5,2\n1,0,0,6,3\n")
    with pytest.raises(ValueError, match=r"h, k and l in r.l.u., got 'h \(1/"):
        read_text(path)


@pytest.mark.parametrize("name", ["2theta (deg)", "two_theta", "scattering angle"])
def test_angles_are_named(tmp_path, name):
    path = tmp_path / "a.csv"
    path.write_text(f"{name},E (meV),I\n10,5,2\n10,6,3\n")
    with pytest.raises(ValueError, match=r"column of \|Q\|, got angles.*from_pandas"):
        read_text(path)


def test_a_column_of_temperatures(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("Q (1/A),E (meV),I,error,T (K)\n1,5,2,1,80\n1,6,3,1,80\n")
    assert read_text(path).temperature == 80
    assert read_text(path, temperature=70.0).temperature == 70
    path.write_text("Q (1/A),E (meV),I,error,T (K)\n1,5,2,1,80\n1,6,3,1,90\n")
    with pytest.warns(
        MeasurementWarning, match=r"temperatures, 'T \(K\)', that is not"
    ):
        assert read_text(path).temperature is None
