"""What a simulator says of one spectrum: contributions, derivatives, backgrounds."""

import numpy as np
from numpy.polynomial import chebyshev

__all__ = ["Model", "image_shape", "polynomial_terms"]

_DIFFERENCE = 1e-4  # step of finite differences, of the step of a parameter


class Model:
    """Spectra of one set of parameters and nuisances, and their derivatives.

    Parameters
    ----------
    simulators : list of simulator
        Of the same parameters and grid.
    nuisance : dict
        From names of nuisances to pairs of the least and the largest value.
    steps : ndarray of shape (n_parameters + n_nuisances,)
        How far parameters may be expected to move.
    """

    def __init__(self, simulators, nuisance, steps):
        self.simulators, self.nuisance, self.steps = simulators, nuisance, steps

    def on(self, pixels):
        """Return the function that a Problem asks: of parameters, on some pixels."""

        def model(parameters):
            found = [self._differentiate(s, parameters) for s in self.simulators]
            spectra, derivatives = zip(*found, strict=True)
            return np.stack(spectra)[:, pixels], np.stack(derivatives)[:, pixels]

        return model

    def _differentiate(self, simulator, parameters):
        """Return a spectrum (n_pixels,) and derivatives (n_pixels, n_parameters)."""
        n_constants = len(parameters) - len(self.nuisance)
        if hasattr(simulator, "jacobian"):
            derivatives, spectra = simulator.jacobian(
                parameters[None, :n_constants],
                return_spectra=True,
                **self._nuisances(parameters[None]),
            )
            return spectra[0], derivatives[0]
        step = _DIFFERENCE * self.steps
        rows = parameters + np.concatenate(
            [0 * step[None], np.diag(step), -np.diag(step)]
        )
        spectra = simulator.simulate(rows[:, :n_constants], **self._nuisances(rows))
        up, down = np.split(spectra[1:], 2)
        return spectra[0], ((up - down) / (2 * step[:, None])).T

    def _nuisances(self, rows):
        """Return the options of a call that has nuisances; those without know none."""
        if not self.nuisance:
            return {}
        columns = rows.T[len(rows.T) - len(self.nuisance) :]
        return {
            "nuisance": dict(zip(self.nuisance, columns, strict=True)),
            "nuisance_ranges": self.nuisance,
        }


def image_shape(simulator, n_pixels):
    """Return the shape of the array of pixels that a row is."""
    grid = getattr(simulator, "grid", None)
    return (n_pixels,) if grid is None else tuple(grid.shape)


def polynomial_terms(simulator, degree, n_pixels):
    """Return polynomials in the axes of the grid, up to a degree in all.

    Parameters
    ----------
    simulator : simulator
        With a `grid` or without.
    degree : int
        Largest sum of powers.
    n_pixels : int
        Pixels of a row.

    Returns
    -------
    ndarray of shape (n_terms, n_pixels)
        Products of Chebyshev polynomials, the constant first.
    """
    grid = getattr(simulator, "grid", None)
    axes = [np.arange(n_pixels)] if grid is None else grid.axes()
    powers = []
    for axis in axes:
        span = np.ptp(axis) or 1.0
        scaled = 2 * (np.asarray(axis, float) - np.min(axis)) / span - 1
        powers.append(chebyshev.chebvander(scaled, degree).T)
    terms = []
    for orders in np.ndindex(*[degree + 1] * len(axes)):
        if sum(orders) <= degree:
            term = np.ones(())
            for values, order in zip(powers, orders, strict=True):
                term = np.multiply.outer(term, values[order])
            terms.append((sum(orders), orders, term.ravel()))
    return np.stack([term for *_, term in sorted(terms, key=lambda t: t[:2])])
