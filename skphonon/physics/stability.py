"""Crystals that are not stable: modes of imaginary energy, and what to say of them."""

from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from skphonon._warnings import warn_user

__all__ = ["Softest", "UnstableCrystalWarning", "searching", "warn_unstable"]

_UNSTABLE = 1e-8  # of the largest eigenvalue, below zero

_SEARCHING: ContextVar[bool] = ContextVar("searching", default=False)


class UnstableCrystalWarning(UserWarning):
    """Parameters describe a crystal with modes of imaginary energy."""


class Softest:
    """The lowest mode of each parameter set.

    Parameters
    ----------
    n_samples : int
        Number of parameter sets.
    matrices : object
        Its `reduced` tells the wavevector of a number, as that of `DynamicalMatrices`.
    """

    def __init__(self, n_samples: int, matrices) -> None:
        self._lowest, self._largest = np.zeros(n_samples), np.zeros(n_samples)
        self.points = np.zeros(n_samples, dtype=int)
        self._matrices = matrices

    @property
    def eigenvalues(self):
        """Lowest eigenvalues in meV^2, 0 of sets that are stable, (n_samples,)."""
        unstable = self._lowest < -_UNSTABLE * self._largest
        return np.where(unstable, self._lowest, 0.0)

    def note(self, batch: slice, eigenvalues, first: int = 0) -> None:
        """Keep the lowest of the eigenvalues of a batch, and of those noted before.

        Parameters
        ----------
        batch : slice
            Its samples.
        eigenvalues : ndarray of shape (n_samples, n_points, n_modes)
            Ascending, in meV^2.
        first : int, default=0
            Number of the first of the points.
        """
        lowest = eigenvalues[..., 0]
        own = lowest.argmin(axis=1)
        values = lowest[np.arange(len(own)), own]
        lower = values < self._lowest[batch]
        self._lowest[batch] = np.where(lower, values, self._lowest[batch])
        self.points[batch] = np.where(lower, first + own, self.points[batch])
        largest = np.abs(eigenvalues).max(axis=(1, 2))
        self._largest[batch] = np.maximum(self._largest[batch], largest)

    def worst(self):
        """Return energy (imaginary part) and reduced wavevector of the softest mode."""
        eigenvalues = self.eigenvalues
        number = int(eigenvalues.argmin())
        reduced = self._matrices.reduced(self.points[number])
        return np.sqrt(-eigenvalues[number]), reduced


@contextmanager
def searching():
    """Keep quiet of unstable crystals: a search passes them, and judges its results."""
    token = _SEARCHING.set(True)
    try:
        yield
    finally:
        _SEARCHING.reset(token)


def warn_unstable(*found: Softest) -> None:
    """Warn of unstable parameter sets, once for all of a call.

    Parameters
    ----------
    *found : Softest
        Their lowest modes.

    Warns
    -----
    UnstableCrystalWarning
        With the number of sets, and the worst mode.
    """
    n_unstable = sum(int((softest.eigenvalues < 0).sum()) for softest in found)
    if not n_unstable or _SEARCHING.get():
        return
    energy, reduced = min(found, key=lambda each: each.eigenvalues.min()).worst()
    place = ", ".join(f"{x + 0.0:.3g}" for x in reduced.round(4))
    warn_user(
        f"{n_unstable} of {sum(len(each.eigenvalues) for each in found)} parameter "
        f"sets are unstable: a mode at q = ({place}) in units of the reciprocal "
        f"lattice has the imaginary energy {energy:.2g}i meV. Such modes are left out "
        "of spectra and displacements; keep to sets for which is_stable of the model "
        "holds.",
        UnstableCrystalWarning,
    )
