r"""Scattering that comes with every sample: multiple scattering, the elastic tail.

A neutron that a phonon scattered may be scattered once more without change of its
energy, by the sample or what holds it, or the other way round. Of all directions in
between an average remains: nearly the same at all angles, with the shape in energy of
the one-phonon spectrum averaged over :math:`|Q|` (V. F. Sears, Adv. Phys. 24, 1,
:doi:`10.1080/00018737500101361`). The elastic line, narrow as it is, is so strong that
its tail is seen beside phonons of low energy.
"""

from numbers import Real
from typing import Any

import numpy as np
from scipy.stats import norm
from sklearn.base import clone

from skphonon._validation import check_parameters, positive
from skphonon._versioned import VersionedEstimator
from skphonon.instrument.grid import energy_edges
from skphonon.instrument.holders import holder_model
from skphonon.physics.scattering import chi_from_sqe
from skphonon.simulation.scattering import as_scattering

__all__ = ["OF_THE_INSTRUMENT", "ElasticTail", "MultipleScattering", "of_holder"]

#: Nuisances of the instrument, which all that it records shares.
OF_THE_INSTRUMENT = (
    "energy_resolution",
    "energy_resolution_slope",
    "energy_offset",
    "energy_scale",
    "q_resolution",
    "q_scale",
    "q_offset",
    "two_theta_offset",
    "incident_energy",
)
#: Settings of a simulator that belong to the sample, with what a holder has of them.
_OF_THE_SAMPLE = {
    "mean_square_displacement": None,
    "background": None,
}

_FARTHEST = 5.0  # widths from zero energy, beyond which no line is a Gaussian


class MultipleScattering(VersionedEstimator):
    r"""Scattering by one phonon and once more without change of energy.

    It does not depend on :math:`|Q|`, and has the shape in energy of the spectrum of
    the sample averaged over the visible pixels of each energy:

    .. math:: M(E) = \frac{1}{n(E)} \sum_{|Q|} S(|Q|, E).

    :class:`~skphonon.inversion.LeastSquaresInverter` takes it as one of its
    `contributions`. It then follows the constants and conditions of the sample at each
    step, and its weight is fitted.

    Notes
    -----
    What is assumed: the elastic part of the scattering is nearly isotropic, as that of
    a powder of many Bragg lines or an incoherent one is; the sample absorbs little; and
    the visible pixels stand for all :math:`|Q|` that a neutron of that energy can
    reach. Scattering by a phonon each time, which is smoother in energy, is left to a
    simulator with ``n_phonons=2`` or a background. The same holds for
    :math:`\chi''`, which differs from S by a factor of the energy alone.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import SpectrumGrid
    >>> from skphonon.simulation import MultipleScattering
    >>> grid = SpectrumGrid([10.0, 20.0], [1.0, 2.0, 3.0])
    >>> MultipleScattering().of_sample([[1.0, 2.0, 6.0, 0.0, 0.0, 3.0]], grid)
    array([[3., 3., 3., 1., 1., 1.]])
    """

    def of_sample(self, spectra, grid):
        r"""Average spectra over the visible pixels of each energy.

        Parameters
        ----------
        spectra : array-like of shape (n_samples, n_pixels)
            Spectra of the sample. The map is linear: derivatives of spectra, as rows,
            become those of the average.
        grid : SpectrumGrid or AngleGrid
            The pixels.

        Returns
        -------
        ndarray of shape (n_samples, n_pixels)
            The average at each energy, the same in all of its visible pixels; NaN in
            others.

        Raises
        ------
        ValueError
            If the grid has no axis of energy beside one of \|Q\| or angle, or spectra
            have another number of pixels.
        """
        require_powder_grid(grid, type(self).__name__)
        rows = np.atleast_2d(np.asarray(spectra, dtype=float))
        if rows.shape[-1] != grid.n_pixels:
            raise ValueError(
                f"spectra must have one column for each of the {grid.n_pixels} pixels "
                f"of the grid, got shape {np.shape(spectra)}."
            )
        images, seen = rows.reshape(-1, *grid.shape), grid.mask
        total = np.where(seen, images, 0.0).sum(axis=2)
        mean = total / np.maximum(seen.sum(axis=1), 1)
        return np.where(seen, mean[..., None], np.nan).reshape(rows.shape)


class ElasticTail(VersionedEstimator):
    r"""Elastic scattering, as far as the resolution brings it beside phonons.

    A Gaussian about zero energy of unit area in S, the same at all :math:`|Q|`:

    .. math:: S(E) = \frac{1}{\sqrt{2\pi}\,\sigma} \exp\frac{-E^2}{2\sigma^2}.

    :class:`~skphonon.inversion.LeastSquaresInverter` takes it as one of its
    `contributions` and fits its weight, the elastic intensity.

    Parameters
    ----------
    width : float
        Standard deviation :math:`\sigma` in meV of the elastic line, such as
        `energy_width` of a :class:`~skphonon.instrument.Calibration`.

    Notes
    -----
    Elastic scattering does depend on :math:`|Q|`: that of Bragg lines in a way that no
    polynomial describes, and lines of single angles are better masked. The part that
    is spread over all angles, of incoherent scattering and of the holder, is flat but
    for the Debye-Waller factor. An instrument with tails that are no Gaussian has more
    intensity beside the line than this: then crop the energies next to it.

    Examples
    --------
    >>> from skphonon import PowderSimulator, SpectrumGrid, load_aluminium_model
    >>> from skphonon.simulation import ElasticTail
    >>> grid = SpectrumGrid([2.0, 4.0, 6.0], [1.0, 2.0])
    >>> simulator = PowderSimulator(
    ...     load_aluminium_model(), grid, energy_resolution=1.5, quantity="sqe"
    ... )
    >>> ElasticTail(1.5).on(simulator).round(3)
    array([[0.115, 0.115, 0.011, 0.011, 0.   , 0.   ]])
    """

    _parameter_constraints = {"width": [positive(Real)]}

    def __init__(self, width):
        self.width = width

    def on(self, simulator):
        r"""Return the tail on the grid of a simulator, as the quantity it simulates.

        Parameters
        ----------
        simulator : PowderSimulator
            Or another object with a `grid` and, where its `quantity` is ``"chi"``, a
            `temperature`. What else it has does not matter.

        Returns
        -------
        ndarray of shape (1, n_pixels)
            Averaged over each bin of energy, in 1/meV; NaN where nothing is measured.

        Raises
        ------
        ValueError
            If the width is not positive, the grid has no axis of energy beside one of
            \|Q\| or angle, or all energies are beyond the tail.
        """
        check_parameters(self)
        grid: Any = getattr(simulator, "grid", None)
        require_powder_grid(grid, type(self).__name__)
        edges, energy = energy_edges(grid), grid.axes()[0]
        nearest = np.abs(edges).min() if edges[0] > 0 or edges[-1] < 0 else 0.0
        if nearest > _FARTHEST * self.width:
            raise ValueError(
                f"The grid of an ElasticTail of width {self.width:g} meV must come "
                f"within {_FARTHEST * self.width:g} meV of zero energy, got a nearest "
                f"border of {nearest:g} meV. Leave the tail out."
            )
        height = np.diff(norm.cdf(edges, scale=self.width)) / np.diff(edges)
        if getattr(simulator, "quantity", "sqe") == "chi":
            height = chi_from_sqe(height, energy, simulator.temperature)
        return np.where(grid.mask, height[:, None], np.nan).reshape(1, -1)


def require_powder_grid(grid, caller):
    """Refuse what has no axis of energy beside one of |Q| or angle."""
    if not hasattr(grid, "q") and not hasattr(grid, "moduli"):
        raise ValueError(
            f"{caller} must have a SpectrumGrid or an AngleGrid, energy beside |Q| or "
            f"scattering angle, got a {type(grid).__name__}. Leave it out, or give "
            "what scatters as a row of intensities."
        )


def of_holder(material, simulator):
    """Return the simulator of a can of some material beside the sample."""
    settings = getattr(simulator, "get_params", dict)(deep=False)
    if "model" not in settings:
        raise ValueError(
            f"A holder of {material!r} needs a simulator of one measurement with a "
            f"model, got {type(simulator).__name__}. Give a simulator of the can."
        )
    own: dict = {
        name: value for name, value in _OF_THE_SAMPLE.items() if name in settings
    }
    if "scattering" in settings:
        scattering = clone(as_scattering(settings["scattering"]))
        own["scattering"] = scattering.set_params(scattering_lengths=None)
    return type(simulator)(**settings | own | {"model": holder_model(material)})
