"""The elastic line of a run with known faults, and what calibration makes of it."""

import numpy as np
from pictures.synthetic import FCC, aluminium_run

from skphonon.inspection import CalibrationDisplay
from skphonon.instrument import calibrate

run = aluminium_run(energy_zero=0.6)
run = run.replace(incident_energy=60.9)  # it was 60.0
found = calibrate(run, (4.0495 * np.eye(3), FCC, "Al"), resolution="direct_geometry")
CalibrationDisplay.from_calibration(found).plot()
