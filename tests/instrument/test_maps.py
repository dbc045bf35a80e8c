"""Pictures of measurements, and what is told of them."""

import re

import matplotlib
import numpy as np
import pytest
from numpy.testing import assert_allclose

from skphonon import CrystalGrid, Measurement, PathGrid, SpectrumGrid
from skphonon.inspection import SpectrumMapDisplay
from skphonon.instrument import AngleGrid, DetectorMeasurement
from skphonon.instrument.maps import map_of
from skphonon.physics.scattering import momentum_transfer

matplotlib.use("Agg")

ENERGY, Q = np.arange(5.0, 45.0, 5), np.arange(0.25, 8, 0.5)


@pytest.fixture
def powder():
    grid = SpectrumGrid(ENERGY, Q, incident_energy=50.0, two_theta=(5.0, 120.0))
    images = np.arange(2.0 * grid.n_pixels).reshape(2, *grid.shape) + 1
    return Measurement(grid.to_rows(images), grid, temperature=[5.0, 300.0])


def detectors(**changed):
    settings = {
        "data": [[1.0, 2.0], [3.0, 4.0], [5.0, np.nan], [np.nan, np.nan]],
        "incident_energy": 50.0,
        "energy_edges": [5.0, 10.0, 20.0],
        "polar": [30.0, -30.0, 60.0, 90.0],
        "azimuthal": [0.0] * 4,
        "polar_width": [1.0] * 4,
        "azimuthal_width": [1.0] * 4,
    } | changed
    return DetectorMeasurement(settings.pop("data"), **settings)


def test_a_map_has_the_pixels_where_they_are(powder):
    first = map_of(powder[0])
    assert first.title == "5 K"
    assert_allclose(first.energy, np.arange(2.5, 45, 5))
    assert_allclose(first.columns, np.arange(0, 8.1, 0.5))
    assert_allclose(first.image, powder.grid.to_image(powder.data)[0])


def test_the_lines_are_the_kinematic_limit(powder):
    near, far = map_of(powder[0]).limits
    for (columns, energy), angle in ((near, 5.0), (far, 120.0)):
        assert_allclose(columns, momentum_transfer(energy, 50.0, angle))
    assert map_of(powder.replace(grid=SpectrumGrid(ENERGY, Q))[0]).limits


def test_no_line_without_an_incident_energy():
    grid = SpectrumGrid(ENERGY, Q)
    assert map_of(Measurement(np.ones(grid.n_pixels), grid)).limits == ()


def test_a_volume_is_averaged_over_all_but_its_longest_axis():
    grid = CrystalGrid(ENERGY, [0.0, 1], np.arange(5.0), 0.5, projection=np.eye(3))
    volume = np.random.RandomState(0).normal(size=grid.volume_shape)
    volume[0, 0] = np.nan
    volume[1, :, 2] = np.nan
    drawn = map_of(Measurement(volume.reshape(1, -1), grid))
    expected = volume.mean(axis=(1, 3))
    expected[0] = volume[0, 1].mean(axis=-1)
    assert_allclose(drawn.image, expected)
    assert drawn.label == "along [0,1,0] (r.l.u.), mean over h 0 to 1, l 0.5"


def test_a_cut_at_one_energy_is_a_plane():
    grid = CrystalGrid([12.0], np.arange(4.0), [0.5], np.arange(6.0))
    volume = np.random.RandomState(0).normal(size=(4, 6))
    edges = {"energy": np.array([10.0, 14.0])}
    drawn = map_of(Measurement(volume.reshape(1, -1), grid, details={"edges": edges}))
    assert_allclose(drawn.image, volume)
    assert (drawn.rows, drawn.label) == (
        "along [1,0,0] (r.l.u.)", "along [0,0,1] (r.l.u.)",
    )  # fmt: skip
    assert drawn.title == "10 to 14 meV"
    assert_allclose(drawn.columns, np.arange(-0.5, 6))


@pytest.mark.parametrize(
    ("grid", "label", "borders"),
    [
        (PathGrid(ENERGY, np.eye(3)), "number of the wavevector", [-0.5, 2.5]),
        (
            AngleGrid(ENERGY, [10.0, 20.0, 30.0], incident_energy=50.0),
            "scattering angle (degree)",
            [5.0, 35.0],
        ),
    ],
)
def test_other_grids(grid, label, borders):
    drawn = map_of(Measurement(np.arange(grid.n_pixels), grid))
    assert drawn.label == label
    assert_allclose(drawn.columns[[0, -1]], borders)
    assert drawn.image.shape == grid.shape


def test_borders_that_are_known_are_those_of_the_map():
    """Uneven bins, of which centres do not tell the borders."""
    edges = {
        "energy": np.array([0.0, 4, 10]),
        "h": np.array([-0.1, 0.1]),
        "k": np.array([0.0, 0.2, 1.0, 1.2]),
        "l": np.array([1.0, 2.0, 5.0]),
        "q": np.array([0.0, 0.2, 1.0, 1.2]),
        "two_theta": np.array([0.0, 2, 10, 12]),
    }
    energy, h, k, l, q, angles = (  # noqa: E741
        (each[1:] + each[:-1]) / 2 for each in edges.values()
    )

    def drawn(grid):
        details = {"edges": edges}
        return map_of(Measurement(np.ones(grid.n_pixels), grid, details=details))

    volume = drawn(CrystalGrid(energy, h, k, l))
    assert_allclose(volume.energy, edges["energy"])
    assert_allclose(volume.columns, edges["k"])
    assert volume.label.endswith("mean over h -0.1 to 0.1, l 1 to 5")
    plane = drawn(CrystalGrid(energy[:1], h, k, l))
    assert_allclose(plane.energy, edges["k"])
    assert_allclose(plane.columns, edges["l"])
    assert_allclose(drawn(SpectrumGrid(energy, q)).columns, edges["q"])
    angles = AngleGrid(energy, angles, incident_energy=50.0)
    assert_allclose(drawn(angles).columns, edges["two_theta"])
    # borders of an axis that another one has replaced
    moved = drawn(SpectrumGrid(energy, q + 1))
    assert_allclose(moved.columns, [0.85, 1.35, 1.85, 2.35])


def scanned(grid, points, **settings):
    """Return a measurement of points (energy, column), intensities 1, 2, ..."""
    image = np.full(grid.shape, np.nan)
    image[tuple(np.transpose(points))] = np.arange(1.0, len(points) + 1)
    return Measurement(grid.to_rows(image), grid, **settings)


def test_scans_at_constant_q_are_curves_over_energy():
    grid = PathGrid(ENERGY, [[1.0, 0, 0.5]])
    error = np.where(ENERGY > 5, 0.1, np.nan)
    one = Measurement(ENERGY**2, grid, error=error, units="counts per 9 s")
    drawn = map_of(one)
    assert (drawn.label, drawn.rows) == (
        "energy transfer (meV)", "intensity (counts per 9 s)",
    )  # fmt: skip
    (curve,) = drawn.curves
    assert curve.name == "(1, 0, 0.5)"
    assert_allclose(curve.x, ENERGY)
    assert_allclose(curve.intensity, ENERGY**2)
    assert_allclose(curve.error, error)
    # two that share some of their energies
    points = [(0, 0), (2, 0), (4, 0), (1, 1), (2, 1), (3, 1), (7, 1)]
    two = map_of(scanned(PathGrid(ENERGY, [[1.0, 0, 0], [1.1, 0, 0]]), points))
    assert [each.name for each in two.curves] == ["(1, 0, 0)", "(1.1, 0, 0)"]
    assert_allclose(two.curves[1].x, ENERGY[[1, 2, 3, 7]])
    assert_allclose(two.curves[1].intensity, [4, 5, 6, 7])


@pytest.mark.parametrize(
    ("step", "label", "names"),
    [
        ([0, 0.1, 0], "k (r.l.u.)", ["(1, k, 2), 5 meV", "(1, k, 2), 10 meV"]),
        (
            [0.1, 0.1, 0],
            "distance along the scan (r.l.u.)",
            [f"(1, 0, 2) to (1.5, 0.5, 2), {energy} meV" for energy in (5, 10)],
        ),
    ],
)
def test_scans_at_constant_energy_are_curves_over_q(step, label, names):
    path = np.array([1.0, 0, 2]) + np.arange(6)[:, None] * step
    path += np.random.RandomState(0).uniform(-1e-5, 1e-5, path.shape)  # of motors
    points = [(row, column) for row in (0, 1) for column in range(6)]
    # an energy between them that nobody measured
    drawn = map_of(scanned(PathGrid(ENERGY, path), points))
    assert drawn.label == label
    assert [each.name for each in drawn.curves] == names
    assert_allclose(drawn.curves[1].x, np.linalg.norm(step) * np.arange(6.0), atol=1e-4)
    assert_allclose(drawn.curves[1].intensity, np.arange(7.0, 13))


def test_scans_in_which_all_changes_are_one_curve():
    path = np.array([[0.9, 0, 0], [1.0, 0, 0], [1.0, 0.1, 0], [1.0, 0.2, 0]])
    drawn = map_of(scanned(PathGrid(ENERGY[:4], path), [(n, n) for n in range(4)]))
    (curve,) = drawn.curves
    assert_allclose(curve.x, [0, 0.1, 0.2, 0.3])  # along both parts
    assert curve.name == "(0.9, 0, 0) to (1, 0.2, 0), 5 to 20 meV"


def test_what_is_no_scan_stays_a_map():
    path = np.linspace([1, 0, 0], [1, 1, 0], 12)
    grid = PathGrid(ENERGY, path)
    cross = [(3, n) for n in range(12)] + [(n, 5) for n in range(8) if n != 3]
    for points in (cross, [(n % 8, m) for m in range(12) for n in range(5)]):
        drawn = map_of(scanned(grid, points))
        assert drawn.label == "number of the wavevector"
    full = Measurement(np.ones(24), PathGrid(ENERGY, np.eye(3)))
    assert map_of(full).label == "number of the wavevector"
    # the same columns, if a file says that scans measured them
    scans = map_of(full.replace(details={"scans": {"1": {"file": "a"}}}))
    assert len(scans.curves) == 3


def test_scans_are_drawn_beside_maps(powder):
    grid = PathGrid(ENERGY, [[1.0, 0, 0]])
    one = Measurement(ENERGY - 5, grid, error=np.ones(8), temperature=10.0)
    display = SpectrumMapDisplay.from_measurements([powder[0], one])
    _, ax = display.plot(vmin=-1.0, vmax=50.0).axes_
    assert ax.get_ylim() == (-1, 50)
    assert (ax.get_xlabel(), ax.get_title()) == ("energy transfer (meV)", "10 K")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["(1, 0, 0)"]
    (ax,) = one.plot(log=True).axes_
    assert ax.get_yscale() == "log"
    assert len(ax.figure.axes) == 1  # no colours
    assert "data:image/png" in one._repr_html_()
    with pytest.raises(ValueError, match="positive intensities, got none"):
        one.replace(data=-one.data - 1).plot(log=True)


def test_detectors_of_one_angle_are_averaged():
    drawn = map_of(detectors())
    assert_allclose(drawn.energy, [5, 10, 20])
    assert_allclose(drawn.image[:, 0], [2.0, 3.0])  # at -30 and 30 degrees
    counts = np.isfinite(drawn.image).sum()
    assert counts == 3  # and one bin of the third; the fourth is masked


def test_a_picture_shows_all_spectra_in_one_scale(powder):
    display = powder.plot(log=True)
    assert [ax.get_title() for ax in display.axes_] == ["5 K", "300 K"]
    meshes = [ax.collections[0] for ax in display.axes_]
    assert meshes[0].norm is meshes[1].norm
    shown = np.ma.filled(meshes[0].get_array(), np.nan)
    assert_allclose(np.isnan(shown), ~powder.grid.mask)
    assert display.axes_[0].get_ylabel() == "energy transfer (meV)"
    assert len(display.axes_[0].lines) == 2
    assert len(powder.plot(limits=False).axes_[0].lines) == 0


def test_values_below_a_logarithmic_scale_have_its_lowest_colour(powder):
    data = np.where(np.arange(powder.data.shape[1]) % 2, -powder.data, powder.data)
    display = powder.replace(data=data).plot(log=True, vmin=1.0, vmax=10.0)
    shown = display.axes_[0].collections[0].get_array()
    assert shown.min() == 1.0
    with pytest.raises(ValueError, match="positive intensities, got none"):
        powder.replace(data=-powder.data).plot(log=True)


def test_several_measurements_side_by_side(powder):
    display = SpectrumMapDisplay.from_measurements(
        [powder[0], powder[0].replace(data=powder[1].data)], ["measured", "simulated"]
    )
    assert [each.title for each in display.data] == ["measured", "simulated"]
    with pytest.raises(ValueError, match="one for each of 1 spectra, got 2"):
        SpectrumMapDisplay.from_measurements(powder[0], ["a", "b"])
    with pytest.raises(ValueError, match="must hold a spectrum, got none"):
        SpectrumMapDisplay.from_measurements([])
    figure = matplotlib.figure.Figure()
    with pytest.raises(ValueError, match="one axes for each of 2 panels, got 1"):
        display.plot(figure.subplots())


def test_nothing_measured_is_drawn_too():
    grid = SpectrumGrid(ENERGY, Q)
    empty = Measurement(np.full(grid.n_pixels, np.nan), grid)
    assert empty.plot().axes_[0].get_title() == ""
    assert "0% of the pixels" in empty.describe()["measured"]


def test_description_says_what_is_known_and_what_is_not(powder):
    told = powder.replace(error=0.1 * powder.data, details={"title": "Al"}).describe()
    assert told["temperature"] == "5 to 300 K"
    assert told["quantity"] == told["energy_resolution"] == "not known"
    assert told["pixels"] == "8 x 16 (SpectrumGrid)"
    assert told["q"] == "0.25 to 7.75 1/Angstrom, 16 bins"
    assert told["errors"].startswith("known; noise is 0.01 of the mean square")
    assert told["title"] == "Al"
    assert "two_theta" not in told
    run = detectors(psi=12.0).describe()
    assert run["detectors"] == "4, of which 1 are masked"
    assert run["psi"] == "12 degree"
    assert run["ki_over_kf_scaling"] == "not known"


def test_html_has_facts_and_a_picture(powder):
    evil = powder.replace(source="<script>alert(1)</script>")
    html = evil._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert re.search(r"data:image/png;base64,[A-Za-z0-9+/=]{1000}", html)
    many = Measurement(np.ones((6, powder.grid.n_pixels)), SpectrumGrid(ENERGY, Q))
    assert "2 more spectra are not shown" in many._repr_html_()
    assert "detectors" in detectors()._repr_html_()


def test_a_cut_of_one_bin_is_a_curve():
    """Over what it has several bins of, with its errors."""
    grid = CrystalGrid([12.0], 0.5, np.arange(5.0), 0.5)
    cut = Measurement(np.arange(5.0), grid, error=np.ones(5), units="barn")
    (curve,) = map_of(cut).curves
    assert_allclose(curve.x, np.arange(5))
    assert_allclose((curve.intensity, curve.error), (np.arange(5), np.ones(5)))
    assert curve.name == "11.5 to 12.5 meV"
    assert map_of(cut).rows == "intensity (barn)"
    assert "data:image/png" in cut._repr_html_()
    rows = np.arange(8.0)
    line = Measurement(rows, SpectrumGrid(ENERGY, [1.5]), error=rows)
    (curve,) = map_of(line).curves
    assert_allclose((curve.x, curve.error), (ENERGY, rows))
    assert curve.name.endswith("1 to 2")
    assert map_of(line).label == "energy transfer (meV)"


def test_axes_of_a_cut_are_named_by_their_directions():
    """No h of a row of the projection that is another one."""
    grid = CrystalGrid(
        ENERGY, [-0.7, -0.4], np.arange(5.0), 0.5,
        projection=[[1, 1, 0], [0, 0, 1], [1, -1, 0]],
    )  # fmt: skip
    cut = Measurement(np.ones(grid.n_pixels), grid)
    assert map_of(cut).label.endswith("mean over [1,1,0] -0.7 to -0.4, [1,-1,0] 0.5")
    told = cut.describe()
    assert told["along [1, 1, 0]"] == "-0.7 to -0.4 r.l.u., 2 bins"
    assert told["along [0, 0, 1]"] == "0 to 4 r.l.u., 5 bins"
    assert not {"h", "k", "l"} & set(told.index)


def test_long_labels_stay_on_the_picture(powder):
    title = "A long title of a measurement of silicon and of much more, at 300 K"
    long = "mean over the directions of a crystal, " * 3
    display = SpectrumMapDisplay.from_measurements(powder[0], [title])
    display.data = [display.data[0]._replace(label=long, units="barn/sr/meV")]
    figure = display.plot().figure_
    figure.draw_without_rendering()
    ax, bar = figure.axes
    assert bar.get_ylabel() == "intensity (barn/sr/meV)"
    frame = figure.bbox
    for text in (ax.title, ax.xaxis.label):
        box = text.get_window_extent()
        assert box.x0 >= frame.x0
        assert box.x1 <= frame.x1


def test_a_legend_covers_no_point():
    grid = PathGrid(ENERGY, np.eye(3)[:2])
    one = Measurement(np.ones(16), grid, details={"scans": {"1": {"file": "a"}}})
    figure = one.plot().figure_
    figure.draw_without_rendering()
    (ax,) = figure.axes
    legend = ax.get_legend().get_window_extent()
    assert legend.x0 >= ax.get_window_extent().x1
    assert legend.x1 <= figure.bbox.x1


@pytest.mark.parametrize("axes", [3, ["a"]])
def test_axes_are_those_of_matplotlib(axes):
    grid = SpectrumGrid([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(TypeError, match="axes must be Axes of matplotlib"):
        Measurement([1, 2, 3, 4], grid).plot(axes)


# Cuts


def test_cuts_are_means_of_what_was_measured(powder):
    """Of the first map points, of the others lines, of differences nothing."""
    one = powder[0]
    display = SpectrumMapDisplay.from_measurements(
        [one, one.replace(data=2 * one.data), one], ["a", "b", "left"], differences=[2]
    )
    cuts = {"energy": (9.0, 21.0), "q": [(1.0, 2.0), (3.0, 4.0)]}
    axes = display.plot(cuts=cuts).axes_
    assert len(axes) == 6
    assert [len(ax.lines) for ax in axes[3:]] == [2, 2, 2]
    points, line = axes[3].lines
    assert (points.get_label(), line.get_label()) == ("a", "b")
    assert (points.get_linestyle(), line.get_linestyle()) == ("None", "-")
    grid = one.grid
    image = grid.to_image(one.data)[0]
    rows = image[(grid.energy >= 9) & (grid.energy <= 21)]
    some = np.isfinite(rows).any(axis=0)
    assert_allclose(points.get_ydata()[some], np.nanmean(rows[:, some], axis=0))
    assert np.isnan(points.get_ydata()[~some]).all()
    assert_allclose(line.get_ydata()[some], 2 * points.get_ydata()[some])
    assert_allclose(points.get_xdata(), grid.q)
    columns = image[:, (grid.q >= 1) & (grid.q <= 2)]
    some = np.isfinite(columns).any(axis=1)
    assert_allclose(
        axes[4].lines[0].get_ydata()[some], np.nanmean(columns[some], axis=1)
    )
    assert axes[4].get_xlabel() == "energy transfer (meV)"
    assert axes[4].get_title().endswith("1 to 2")
    # two lines of the kinematic limit, and both ends of three cuts
    assert [len(ax.lines) for ax in axes[:3]] == [8, 8, 8]


@pytest.mark.parametrize(
    ("cuts", "message"),
    [
        ({"Q": (1, 2)}, "energy or q, got 'Q'"),
        ({"q": (2, 1)}, "low < high"),
        ({"q": 1.0}, "pairs"),
        ({"energy": (900, 901)}, "must hold pixels, got energy 900 to 901"),
    ],
)
def test_cuts_that_are_none(powder, cuts, message):
    with pytest.raises(ValueError, match=message):
        powder.plot(cuts=cuts)


def test_no_cuts_of_scans_or_of_differences_alone(powder):
    one = Measurement(ENERGY, PathGrid(ENERGY, [[1.0, 0, 0]]))
    with pytest.raises(ValueError, match="got scans"):
        one.plot(cuts={"energy": (1, 10)})
    display = SpectrumMapDisplay.from_measurements(powder[0], differences=[0])
    with pytest.raises(ValueError, match="differences alone"):
        display.plot(cuts={"q": (1, 2)})


def test_a_plane_of_a_volume_at_an_energy():
    """The bin that holds the energy, as a measurement of that bin alone is drawn."""
    h, k = np.arange(3.0), np.arange(4.0)
    grid = CrystalGrid(ENERGY, h, k, 0.0)
    whole = Measurement(np.arange(grid.n_pixels, dtype=float), grid, temperature=5.0)
    (drawn,) = SpectrumMapDisplay.from_measurements(whole, energy=ENERGY[2] + 0.1).data
    assert_allclose(drawn.image.ravel(), grid.to_volumes(whole.data)[0, 2].ravel())
    assert drawn.image.shape == (3, 4)
    one = whole.replace(
        data=grid.to_volumes(whole.data)[0, 2].ravel(),
        grid=CrystalGrid(ENERGY[2:3], h, k, 0.0),
    )
    assert_allclose(map_of(one).image, drawn.image)
    assert drawn.title.startswith("5 K, ")
    with pytest.raises(ValueError, match=r"energy must be from .*, got 900"):
        SpectrumMapDisplay.from_measurements(whole, energy=900.0)
    with pytest.raises(ValueError, match="must be of a volume, got SpectrumGrid"):
        SpectrumMapDisplay.from_measurements(
            Measurement(np.ones(8), SpectrumGrid(ENERGY, [1.0])), energy=10.0
        )
