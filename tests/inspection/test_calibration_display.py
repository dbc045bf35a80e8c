"""The picture of a calibration: what it marks."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from calibration_files import NICKEL, counted, fcc_lines

from skphonon.inspection._calibration import CalibrationDisplay
from skphonon.instrument.calibrating import calibrate


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_lines_are_marked_by_phase():
    measured = counted(can=fcc_lines(4.05, 10.0), zero=0.3)
    found = calibrate(measured, NICKEL, resolution="constant")
    display = CalibrationDisplay.from_calibration(found)
    assert display.plot() is display
    line, banks, pattern = display.axes_
    labels = pattern.get_legend_handles_labels()[1]
    assert labels == list(found.reflections["phase"].unique())
    texts = {text.get_text() for text in pattern.texts}
    assert {"111", "200", "220"} <= texts
    assert "meV" in line.get_xlabel()
    assert banks.get_xlabel() == "scattering angle (degrees)"
    assert pattern.get_yscale() == "log"
    drawn = np.sort([each.get_xdata()[0] for each in pattern.lines[2:]])
    np.testing.assert_allclose(drawn, found.reflections["q"])
    low, high = line.get_xlim()
    assert low < 0.3 < high < 15


def test_given_axes_and_no_lines():
    found = calibrate(counted(lines=([], [])), resolution="constant")
    _, axes = plt.subplots(3)
    display = CalibrationDisplay.from_calibration(found).plot(axes, log=False)
    assert display.axes_[0] is axes[0]
    assert axes[2].get_yscale() == "linear"
    with pytest.raises(ValueError, match="axes must hold one axes for each of 3"):
        display.plot([axes[0]])


def test_only_calibrations_are_drawn():
    with pytest.raises(TypeError, match=r"got DetectorMeasurement\. Pass calibrate"):
        CalibrationDisplay.from_calibration(counted())
