"""Cuts of Horace, with and without pixels (.sqw, .d1d to .d4d).

Conventions of these files: an intensity is the mean over the pixels of a bin, kept with
the variance of that mean and the number of pixels; 0 of them is not measured. psi turns
the crystal about the vertical, anticlockwise seen from above, from where u is along the
beam; Q is k_i - k_f.
"""

import numpy as np

from skphonon._warnings import warn_user
from skphonon.instrument import CrystalGrid, SpectrumGrid
from skphonon.instrument.measurement import Measurement, MeasurementWarning
from skphonon.io._horace_blocks import read_blocks
from skphonon.io._horace_bytes import Cursor, open_bytes
from skphonon.io._horace_cut import PIXEL, lattice_vectors, pixels_to_hkl
from skphonon.io._horace_old import read_old
from skphonon.io._images import warn_of_left_out
from skphonon.io._kinds import require_kind

__all__ = ["read_horace"]

_SAME_ENERGY = 0.01  # relative: files hold fits to monitors, run by run
_DIRECT = 1.0  # mode of a spectrometer that fixes the incident energy
_TURNED = 1e-3  # degrees, by which a crystal may be off its axis
_CHECKED = 100_000  # pixels that are compared with their bins
_OTHER = 1e-3  # relative, to the largest: sums of single precision
_NAMES = ("axis 1", "axis 2", "axis 3", "the energy")


def read_horace(path, *, pixels=False):
    r"""Read a cut of Horace.

    Cuts along straight axes become single-crystal spectra, along any projection and
    with any origin. Cuts in spheres, of :math:`|Q|` and energy, become powder spectra.
    An axis that was integrated over has one bin, also the energy, and must have finite
    limits.

    Parameters
    ----------
    path : str or path-like
        The file: version 4 of the format, or 2 to 3.1, with or without pixels.
    pixels : bool, default=False
        Whether `details` give access to the list of pixels, all that was measured. It
        stays in the file, and is read from there where it is used.

    Returns
    -------
    Measurement
        Of one spectrum in proportion to S(Q, E), as Horace takes its data to be. Data
        are NaN where nothing was measured, errors also where they are 0. The grid has
        bins, projection, lattice and, as mask, what was measured; with pixels also
        orientation, psi and incident energy, if it is the same within 1 % in all runs.
        Temperature and resolution are None. In `details` are, if the file has them

        - events : ndarray of shape (1, n_pixels). Number of pixels in a bin, NaN as
          the data.
        - edges : dict of ndarray. Borders of the bins by the name of the axis in
          the grid, which tell how thick an integrated axis is.
        - title, instrument, sample : str.
        - version : float. Of the format.
        - projection : str. Class of the projection, of version 4.
        - origin : ndarray of shape (4,). Origin of the axes in the file in r.l.u. and
          meV. Axes of the grid have theirs at 0.
        - runs : tuple of dict. Of each run `filename`, `run_id`, `efix` in meV,
          `emode` (1: direct, 2: indirect geometry), `u`, `v`, `psi` and angles of the
          goniometer, `omega`, `dpsi`, `gl` and `gs`, in degrees, and `en`, borders of
          the bins of energy transfer in meV.
        - pixels : structured array of shape (n,), mapped from the file. Fields u1, u2
          and u3 (Q in 1/Angstrom, x along a*, y in the plane of a* and b*), energy,
          irun (a `run_id`), idet and ien (from 1), signal, variance. Those of one bin
          are together.
        - pixels_to_hkl : ndarray of shape (3, 3). Matrix M of (h, k, l) = (u1, u2, u3)
          @ M.

    Raises
    ------
    OSError
        If the file is missing or damaged.
    ValueError
        If it is none of Horace or of another version, is cut along something else, has
        limits that are not finite, or no pixels that were asked for.

    Warns
    -----
    MeasurementWarning
        If pixels and bins contradict each other, or axes and their projection; or if a
        sphere was only measured in part, or intensities lie at energies above the
        incident one, which are left out.

    Notes
    -----
    The format of version 4 is described in the repository of Horace, for its
    developers, and read by scippneutron. A file does not tell whether
    its intensities were multiplied by :math:`k_i/k_f`, or divided by a Bose factor.
    Where they are not in proportion to S(Q, E), set the quantity with ``replace``.
    The lattice of the grid has a along x and b in the plane of x and y. Energy
    transfers above the incident energy are left out.

    Examples
    --------
    >>> from skphonon.io import read_horace
    >>> measured = read_horace("iron.sqw", pixels=True)  # doctest: +SKIP
    >>> measured.grid.volume_shape, measured.data.shape  # doctest: +SKIP
    ((1, 1, 21, 1), (1, 21))
    >>> pixels = measured.details["pixels"]  # doctest: +SKIP
    >>> for first in range(0, len(pixels), 1_000_000):  # doctest: +SKIP
    ...     part = pixels[first : first + 1_000_000]
    """
    require_kind(path, "horace")
    with np.errstate(all="ignore"):  # damaged files hold any number: all are checked
        return _read_measurement(path, pixels)


def _read_measurement(path, pixels):
    content = open_bytes(path)
    cut, version = _read_cut(Cursor(content, path))
    if pixels and cut.pixels is None:
        raise ValueError(
            f"{path} must hold pixels, got only an image of them. Read the .sqw that "
            "it was cut from, or pass pixels=False."
        )
    listed = None if cut.pixels is None else _pixels(content, *cut.pixels)
    if listed is not None:
        _check_pixels(path, cut, listed)
    edges = _edges_in_rlu(path, cut)
    incident, orientation = _settings(cut.runs)
    grid, names, edges, images = _lay_out(path, cut, edges, incident, orientation)
    details = {
        "events": images[2].reshape(1, -1),
        "edges": dict(zip(names, edges, strict=True)),
        "version": version,
        "origin": cut.origin if cut.origin.any() else None,
        **cut.details,
        "runs": tuple(cut.runs),
    }
    if pixels:
        cell = lattice_vectors(path, *cut.lattice)
        details |= {"pixels": listed, "pixels_to_hkl": pixels_to_hkl(cell)}
    return Measurement(
        images[0].reshape(1, -1),
        grid,
        error=images[1].reshape(1, -1),
        quantity="sqe",
        incident_energy=incident,
        source=str(path),
        details={
            name: value for name, value in details.items() if not _is_nothing(value)
        },
    )


def _is_nothing(value):
    return value is None or (isinstance(value, (str, tuple)) and not value)


def _read_cut(cursor):
    """Return the content of a file, and the version of its format."""
    cursor.text()  # horace
    version, with_pixels = cursor.number("<d"), cursor.number("<I")
    cursor.number("<I")  # number of dimensions
    if 4 <= version < 5:
        return read_blocks(cursor), version
    if 2 <= version < 3.15:
        return read_old(cursor, bool(with_pixels)), version
    raise ValueError(
        f"{cursor.path} must be of version 4, or 2 to 3.1, of the format of Horace, "
        f"got {version:g}. Load it in Horace 4 and save it again."
    )


def _edges_in_rlu(path, cut):
    """Return borders of bins, in r.l.u. along the steps or 1/Angstrom, and meV."""
    scales, shifts = [1.0, 1.0, 1.0, cut.lengths[3]], np.zeros(3)
    if not cut.sphere:
        _check_steps(path, cut.steps)
        shifts = cut.origin[:3] @ np.linalg.inv(cut.steps)
    elif cut.origin[:3].any():
        raise ValueError(
            f"{path} must be cut in spheres about Q = 0, got the centre "
            f"{cut.origin[:3].tolist()} r.l.u. Cut it about 0."
        )
    else:
        scales[0] = cut.lengths[0]
    edges = [
        scale * each + shift
        for scale, each, shift in zip(
            scales, cut.edges, [*shifts, cut.origin[3]], strict=True
        )
    ]
    used = (0, 3) if cut.sphere else (0, 1, 2, 3)
    for name, borders in ((_NAMES[axis], edges[axis]) for axis in used):
        finite = np.isfinite(borders).all() and np.isfinite(_centres(borders)).all()
        if not (finite and (np.diff(borders) > 0).all()):
            raise ValueError(
                f"{path} must have increasing and finite borders along {name}, got "
                f"{borders.min():g} to {borders.max():g}. Cut it again, between "
                "finite limits of all axes."
            )
    return edges


def _check_steps(path, steps):
    size = np.linalg.norm(steps, axis=1).prod()
    if not (np.isfinite(steps).all() and abs(np.linalg.det(steps)) > 1e-9 * size):
        raise ValueError(
            f"{path} must have three independent axes in r.l.u., got {steps.tolist()}. "
            "Cut it again with another projection."
        )


def _settings(runs):
    """Return the incident energy, and the orientation of a crystal, if runs tell."""
    if not runs:
        return None, {}
    direct = [np.ndim(run["emode"]) == 0 and run["emode"] == _DIRECT for run in runs]
    energies = np.array(
        [
            run["efix"] if fixed and np.ndim(run["efix"]) == 0 else 0.0
            for run, fixed in zip(runs, direct, strict=True)
        ]
    )
    alike = (abs(energies - energies[0]) <= _SAME_ENERGY * energies).all()
    mean = energies.mean().item()
    return (mean if alike and 0 < mean < np.inf else None), _orientation(runs)


def _orientation(runs):
    """Return u, v and psi, none where a crystal was not only turned about u x v."""
    if any(len(run[name]) != 3 for run in runs for name in "uv"):
        return {}  # of a powder
    u, v = (np.array([run[name] for run in runs]) for name in "uv")
    alike = np.allclose(u, u[0], atol=1e-5) and np.allclose(v, v[0], atol=1e-5)
    angles = [[run[name] for name in ("psi", "dpsi", "gl", "gs")] for run in runs]
    if not alike or any(np.ndim(each) for row in angles for each in row):
        return {}
    psi, correction, *arcs = np.array(angles).T
    psi = psi + correction
    turned = not (np.abs(arcs) <= _TURNED).all() or not np.isfinite(psi).all()
    parallel = not np.linalg.norm(np.cross(u[0], v[0])) > 0
    return {} if turned or parallel else {"u": u[0], "v": v[0], "psi": psi}


def _lay_out(path, cut, edges, incident, orientation):
    """Return the grid, names of axes, their borders, and images, energy first."""
    images = [np.moveaxis(image, 3, 0) for image in _images(path, cut)]
    edges = [edges[3], *edges[:3]]
    if incident is not None:
        last = int(np.sum(_centres(edges[0]) <= incident))
        if not last:
            raise ValueError(
                f"{path} must have energy transfers below the incident energy, "
                f"{incident:g} meV, got {edges[0].min():g} to {edges[0].max():g} meV."
            )
        warn_of_left_out(images[0][last:], incident, path)
        edges[0], images = edges[0][: last + 1], [image[:last] for image in images]
    mask = np.isfinite(images[0]).reshape(len(edges[0]) - 1, -1)
    if not mask.any():
        raise ValueError(
            f"{path} must hold at least one bin with pixels, got none. Check the "
            "limits of the cut."
        )
    if cut.sphere:
        _check_sphere(path, edges[2:], cut.whole)
        edges, names = edges[:2], ("energy", "q")
        energy, q = map(_centres, edges)
        powder = SpectrumGrid(energy, q, incident_energy=incident, mask=mask)
        return powder, names, edges, images
    energy, h, k, l = map(_centres, edges)  # noqa: E741
    grid = CrystalGrid(
        energy,
        h,
        k,
        l,
        projection=cut.steps,
        lattice=lattice_vectors(path, *cut.lattice),
        incident_energy=incident,
        mask=mask,
        **orientation,
    )
    return grid, ("energy", "h", "k", "l"), edges, images


def _centres(edges):
    return (edges[1:] + edges[:-1]) / 2


def _images(path, cut):
    """Return intensities, errors and numbers of pixels, NaN where there are none."""
    if cut.signal.size == 1:
        raise ValueError(
            f"{path} must have bins, got a single number. Cut it again along energy "
            "and at least one direction of Q."
        )
    seen = (cut.counts > 0) & np.isfinite(cut.signal)
    errors = np.sqrt(np.where(seen & (cut.variance > 0), cut.variance, np.nan))
    data = np.where(seen, cut.signal, np.nan).astype(float)
    return data, errors.astype(float), np.where(seen, cut.counts, np.nan).astype(float)


def _check_sphere(path, edges, whole):
    """Refuse more than one bin of the angles of a sphere, and warn of a part of it."""
    n_bins = [len(each) - 1 for each in edges]
    if n_bins != [1, 1]:
        raise ValueError(
            f"{path} must have |Q| and energy as its axes, got {n_bins} bins of the "
            "angles of a sphere. Cut it again with one bin of each angle, or along "
            "straight axes."
        )
    if not whole:
        warn_user(
            f"{path} is an average over a part of the directions of Q, which a "
            "powder spectrum is not unless the sample is a powder. Cut a crystal along "
            "straight axes.",
            MeasurementWarning,
        )


def _pixels(content, place, length):
    """Return the list of pixels, still in the file."""
    part = content[place : place + length * PIXEL.itemsize]
    return part.view(PIXEL)


def _check_pixels(path, cut, pixels):
    """Warn if bins are not what the first pixels add up to."""
    counts = cut.counts.ravel(order="F")
    total = counts.sum(dtype=float)
    if total != len(pixels) or (counts < 0).any():
        warn_user(
            f"{path} counts {total:.0f} pixels in its bins and lists {len(pixels)} of "
            "them. The bins are used as they are: cut it again.",
            MeasurementWarning,
        )
        return
    last = int(np.searchsorted(np.cumsum(counts), _CHECKED, side="right"))
    counts = counts[:last].astype(np.int64)
    bins = np.repeat(np.arange(last), counts)
    signal, squares = (
        np.bincount(bins, pixels[name][: len(bins)], minlength=last)
        for name in ("signal", "variance")
    )
    mean, variance = (
        image.ravel(order="F")[:last].astype(float)
        for image in (cut.signal, cut.variance)
    )
    advice = "Check what was done to them, or cut it again."
    what = "Variances"
    if _differ(mean * counts, signal):
        what = "Intensities"
    elif not _differ(variance * counts**2, squares):
        return
    elif not _differ((variance * counts) ** 2, squares):
        advice = (
            "They are standard deviations there: use "
            "measured.replace(error=measured.error**2)."
        )
    warn_user(
        f"{what} of bins of {path} are not what its pixels add up to, and used as they "
        f"are. {advice}",
        MeasurementWarning,
    )


def _differ(sums, others):
    return (abs(sums - others) > _OTHER * abs(others).max(initial=0.0)).any()
