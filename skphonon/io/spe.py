r"""SPE files in text: intensity by spectrum and energy transfer, before NXSPE.

The first line has the numbers of spectra and of energies. Under headings that begin
with ``###`` follow "Phi Grid" (or "Q Grid"), one number more than spectra, "Energy
Grid", the borders of bins in meV, and for each spectrum "S(Phi,w)" and "Errors".
Numbers stand eight in a line, each ten characters wide. Masked intensities are -1e30
or NaN.

Where the detectors are is told by a second file, .phx or .par: the Phi Grid of most SPE
files counts spectra or repeats one number.
"""

from pathlib import Path

import numpy as np

from skphonon._versioned import frozen
from skphonon.instrument import DetectorMeasurement
from skphonon.io._detector_tables import read_detectors
from skphonon.io._images import Axis, measured_image
from skphonon.io._kinds import require_kind
from skphonon.io._number_lines import Lines, counts
from skphonon.physics.scattering import final_energy, momentum_transfer

__all__ = ["read_spe"]

_MASKED = -1e10  # and below
_GRIDS = ("two_theta", "q")  # meanings of the first grid of a file
_ROUNDING = 1e-3  # of numbers with four digits


def read_spe(
    path,
    detectors=None,
    *,
    incident_energy=None,
    psi=None,
    temperature=None,
    ki_over_kf_scaling=None,
    grid=None,
):
    r"""Read an SPE file in text, with the table of its detectors.

    Neither file tells the incident energy, the temperature or whether intensities were
    multiplied by :math:`k_i/k_f`: these are arguments, and asked for where needed.

    Parameters
    ----------
    path : str or path-like
        The SPE file.
    detectors : str or path-like, default=None
        The .phx (seven columns) or .par file (five or six) of the same spectra, told
        apart by their columns. None is enough if the spectra of the file are bins of
        :math:`|Q|` or of scattering angle; `grid` says more.
    incident_energy : float, default=None
        Energy of the incoming neutrons in meV. Only bins of :math:`|Q|` need none.
    psi : float, default=None
        Rotation of the crystal about the vertical in degrees.
    temperature : float, default=None
        Temperature of the sample in K.
    ki_over_kf_scaling : bool, default=None
        Whether intensities were multiplied by :math:`k_i/k_f`. None: not known, and
        asked for by name where it is needed.
    grid : {"two_theta", "q"}, default=None
        Meaning of the Phi Grid of a file that is read without `detectors`: borders of
        scattering angles in degrees, or of :math:`|Q|` in 1/Angstrom. None takes the
        second if its heading is "Q Grid", and the first if the grid increases to more
        than any :math:`|Q|` that neutrons of `incident_energy` can have and does not
        just count.

    Returns
    -------
    DetectorMeasurement or Measurement
        With `detectors`, intensities as stored, of shape (n_spectra, n_energy), and
        NaN where the file has NaN or -1e30. A negative scattering angle is a positive
        one at the azimuth on the other side. Without, one spectrum on a SpectrumGrid
        or AngleGrid, with NaN also where intensity and error are both 0 in a bin of
        :math:`|Q|`, or at all energies of an angle, errors NaN where they are 0, and
        ``details["edges"]``; energies from `incident_energy` on are left out.
        ``details["grid"]`` is then "q" or "two_theta".

    Raises
    ------
    OSError
        If a file is missing.
    ValueError
        If one is of another kind, damaged or cut off, the numbers of spectra differ,
        or it is not said where the detectors are or what the incident energy is.

    Warns
    -----
    MeasurementWarning
        If intensities lie at energies from `incident_energy` on, which are left out
        without `detectors`; bins are so uneven that the grid has other borders; or
        intensities lie where no neutron can arrive.

    See Also
    --------
    skphonon.io.read_nxspe : Read files that hold all of this.
    skphonon.io.reduce_powder : Rebin detectors.

    Notes
    -----
    The azimuth of a .phx is 0 in the horizontal and 90 upwards, that of a .par has the
    opposite sign: the conventions of Horace and Mantid. The width that a .phx gives, or
    a .par in m, lies along the scattering angle, and the height across it, which is the
    larger an angle about the beam the nearer a detector is to it. Widths are as in the
    table; wrong ones can be mended with ``replace(polar_width=...)``.

    The format is described at https://docs.mantidproject.org/nightly/algorithms/
    LoadSPE-v1.html, those of the tables at SavePHX-v1 and SavePAR-v1 there.

    Examples
    --------
    >>> from skphonon.io import read_spe
    >>> measured = read_spe(
    ...     "MAR11060.spe", "mari_res.phx", incident_energy=30.0
    ... )  # doctest: +SKIP
    >>> measured.data.shape  # doctest: +SKIP
    (919, 70)
    """
    if grid not in (None, *_GRIDS):
        raise ValueError(f"grid must be one of {', '.join(_GRIDS)}, got {grid!r}.")
    require_kind(path, "spe")
    with Path(path).open(encoding="utf-8", errors="replace") as file:
        lines = Lines(file, path)
        heading, across, energy = _axes(lines)
        if detectors is None:
            grid = grid or _meaning(path, heading, across, energy, incident_energy)
            _require_borders(path, grid, across)
        angles = None if detectors is None else _table(path, detectors, across)
        if incident_energy is None and grid != "q":
            raise ValueError(
                f"The incident energy of {path} must be known, and SPE files do not "
                "tell it. Pass incident_energy=..., in meV, to skphonon.io.read_spe."
            )
        data, errors = _spectra(lines, len(across) - 1, len(energy) - 1)
    settings = {
        "incident_energy": incident_energy,
        "temperature": temperature,
        "quantity": "sqe" if ki_over_kf_scaling else None,
        "source": str(path),
    }
    if angles is None:
        axes = Axis("energy", energy), Axis(grid, across)
        if ki_over_kf_scaling is False:
            _multiply_by_ki_over_kf(data, errors, axes[0], settings, path)
        settings["details"] = {"grid": grid}
        return measured_image(data.T, errors.T, *axes, path, **settings)
    masked = ~np.isfinite(data) | (data <= _MASKED)
    data[masked] = errors[masked] = np.nan
    errors[errors < 0] = np.nan
    return DetectorMeasurement(
        frozen(data),
        error=frozen(errors),
        energy_edges=energy,
        psi=psi,
        ki_over_kf_scaling=ki_over_kf_scaling,
        details={"detectors": str(detectors)},
        **angles,
        **settings,
    )


def _axes(lines):
    """Return "phi" or "q", its grid, and the borders of bins of energy."""
    n_spectra, n_energy = counts(lines.take(), lines.place())
    if not (n_spectra and n_energy):
        raise ValueError(
            f"{lines.place()} must announce spectra and energies, got {n_spectra} and "
            f"{n_energy}."
        )
    lines.require_room(2 * n_spectra * n_energy + n_spectra + n_energy + 2)
    heading = lines.require(r"\s*###\s*(phi|q)\b", "the heading '### Phi Grid'")
    # some programs fill the last line of a grid that nobody uses
    across = lines.numbers(n_spectra + 1, "the Phi Grid", more=True)
    lines.require(r"\s*###\s*energy\b", "the heading '### Energy Grid'")
    energy = lines.numbers(n_energy + 1, "the Energy Grid")
    if not ((np.diff(energy) > 0).all() and np.isfinite(energy).all()):
        raise ValueError(
            f"{lines.place()} must end increasing borders of bins of energy transfer, "
            f"got {energy[0]:g}, {energy[1]:g} ... {energy[-1]:g} meV."
        )
    return heading[1].lower(), across, energy


def _spectra(lines, n_spectra, n_energy):
    """Return intensities and errors, of shape (n_spectra, n_energy)."""
    data, errors = np.empty((n_spectra, n_energy)), np.empty((n_spectra, n_energy))
    for number in range(n_spectra):
        for name, rows in (("S", data), ("Err", errors)):
            what = f"{'intensities' if name == 'S' else 'errors'} of spectrum"
            lines.require(rf"\s*###\s*{name}", f"the heading of {what} {number + 1}")
            rows[number] = lines.numbers(n_energy, f"{what} {number + 1}")
    if line := lines.take():
        raise ValueError(
            f"{lines.place()} must be the end, after {n_spectra} spectra, got "
            f"{line[:40]!r}."
        )
    return data, errors


def _table(path, detectors, across):
    angles = read_detectors(detectors)
    n_spectra, n_detectors = len(across) - 1, len(angles["polar"])
    if n_detectors != n_spectra:
        raise ValueError(
            f"detectors must be a table of the {n_spectra} spectra of {path}, got "
            f"{n_detectors} in {detectors}. Take the .phx or .par that was written "
            "with it."
        )
    return angles


def _meaning(path, heading, across, energy, incident_energy):
    """Return the meaning of the first grid of a file, by its heading and numbers."""
    if heading == "q":
        return "q"
    n_spectra, found = len(across) - 1, "no angles"
    steps = np.diff(across)
    rising = np.isfinite(across).all() and (steps > 0).all()
    if not steps.any():
        found = f"{across[0]:g} throughout"
    elif not rising or across[0] < 0 or across[-1] > 180:
        found = f"{across[0]:g}, {across[1]:g} ... {across[-1]:g}"
    elif np.abs(steps - 1).max() < _ROUNDING * np.abs(across).max():
        found = f"a count from {across[0]:g} to {across[-1]:g}"
    elif incident_energy is None:
        found = (
            f"{across[0]:g} to {across[-1]:g}, which incident_energy would tell to be "
            "angles, or not"
        )
    else:
        lowest = min(energy[0], 0.0)
        if across[-1] > momentum_transfer(lowest, incident_energy, 180.0):
            return "two_theta"
        found = f"{across[0]:g} to {across[-1]:g}, which may be angles or |Q|"
    raise ValueError(
        f"The scattering angles of the {n_spectra} spectra of {path} must be known, "
        f"and its Phi Grid holds {found}. Pass detectors=..., the .phx or .par file of "
        "these spectra, to skphonon.io.read_spe"
        + (
            "; or grid='two_theta' or grid='q' if the grid has the borders of these."
            if rising
            else "."
        )
    )


def _require_borders(path, grid, across):
    """Refuse a first grid that holds no borders of bins."""
    steps = np.diff(across)
    if np.isfinite(across).all() and ((steps > 0).all() or (steps < 0).all()):
        return
    found = f"{across[0]:g} throughout"
    if steps.any():
        found = f"{across[0]:g}, {across[1]:g} ... {across[-1]:g}"
    raise ValueError(
        f"The Phi Grid of {path} must hold increasing borders of bins for grid="
        f"{grid!r}, got {found}: it does not tell where the spectra were measured. "
        "Pass detectors=..., their .phx or .par file, to skphonon.io.read_spe, or "
        "their axes and intensities to skphonon.Measurement.from_arrays."
    )


def _multiply_by_ki_over_kf(data, errors, energy, settings, path):
    """Make counts proportional to S(Q, E), in place."""
    incident = settings["incident_energy"]
    if incident is None:
        raise ValueError(
            f"The incident energy of {path} must be known to multiply by ki/kf. Pass "
            "incident_energy=..., in meV, to skphonon.io.read_spe."
        )
    centres = energy.centres(data.shape[1])
    below = centres < incident  # others are left out
    outgoing = final_energy(np.where(below, centres, 0.0), incident)
    factor = np.sqrt(incident / outgoing)
    data *= factor
    errors *= factor
    settings["quantity"] = "sqe"
