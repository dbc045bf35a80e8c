r"""Mean-square displacements of the atoms, and their derivatives.

.. math:: U_d = \sum_q w_q \sum_j \frac{\hbar^2}{2 m_d E_{qj}}
          \coth\frac{E_{qj}}{2 k_B T}\,\mathrm{Re}\,e_{dqj} e_{dqj}^\dagger

(Squires, *Introduction to the Theory of Thermal Neutron Scattering*,
doi:10.1017/CBO9781139107808, chapter 3). Simulators, thermodynamics and pictures all
use this one computation.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon.physics._phonon_model import PhononModel
from skphonon.physics.constants import BOLTZMANN, HBAR2_PER_AMU

__all__ = [
    "Amplitudes",
    "ThermalTensors",
    "displacement_components",
    "thermal_amplitudes",
]

Array = NDArray[np.float64]
Vectors = NDArray[np.float64] | NDArray[np.complex128]

_SOFTEST = 1e-9  # of the largest eigenvalue: softer modes are those of no energy


class Amplitudes(NamedTuple):
    """Mean-square amplitudes of modes of 1 amu, zero for modes that are not stable."""

    values: Array  # Angstrom^2
    slopes: Array  # derivatives with the squared energy, Angstrom^2/meV^2
    warmings: Array  # derivatives with the temperature, Angstrom^2/K


def thermal_amplitudes(eigenvalues: Array, temperature: ArrayLike) -> Amplitudes:
    """Return amplitudes of modes of squared energies (n_samples, ...) in meV^2.

    The temperature in K is one, or one a sample.
    """
    largest = np.abs(eigenvalues).max(axis=-1, keepdims=True)
    stable = eigenvalues > _SOFTEST * largest
    energies = np.sqrt(np.where(stable, eigenvalues, 1.0))
    kelvins = np.asarray(temperature, dtype=float)
    kelvins = kelvins.reshape(kelvins.shape + (1,) * (eigenvalues.ndim - kelvins.ndim))
    cold = kelvins == 0
    half = np.where(cold, 1.0, 2 * BOLTZMANN * kelvins)
    coth = np.where(cold, 1.0, 1 / np.tanh(energies / half))
    falling = np.where(cold, 0.0, (1 - coth * coth) / half)  # of coth with E
    values = coth / energies
    scale = np.where(stable, HBAR2_PER_AMU / 2, 0.0)
    slopes = scale * (falling - values) / (2 * energies**2)
    warmings = scale * -falling / np.where(cold, 1.0, kelvins)
    return Amplitudes(scale * values, slopes, warmings)


def displacement_components(model: PhononModel) -> Array:
    """Return an orthonormal basis of the tensors that the space group allows.

    Its shape is (n_components, n_atoms, 3, 3).
    """
    rotations, permutations = model.symmetry_operations()
    n_atoms = model.n_atoms
    start = np.eye(3)
    symmetric = [
        (np.outer(start[a], start[b]) + np.outer(start[b], start[a]))
        / (2.0 if a == b else 2**0.5)
        for a in range(3)
        for b in range(a, 3)
    ]
    found = [np.zeros((0, n_atoms, 3, 3))]
    done: set[int] = set()
    for atom in range(n_atoms):
        orbit = permutations[:, atom]
        if atom in done:
            continue
        done.update(orbit.tolist())
        images = np.zeros((6, n_atoms, 3, 3))
        for tensor, image in zip(symmetric, images, strict=True):
            turned = rotations @ tensor @ rotations.swapaxes(1, 2)
            np.add.at(image, orbit, turned / len(orbit))
        _, sizes, rows = np.linalg.svd(images.reshape(6, -1), full_matrices=False)
        found.append(rows[sizes > 1e-6 * sizes[0]].reshape(-1, n_atoms, 3, 3))
    return np.concatenate(found)


class ThermalTensors:
    """Displacement tensors in components of what the space group allows.

    Methods take the modes at the points whose weights are given: squared energies in
    meV^2, (n_samples, n_points, n_modes), vectors in columns (those of the real form of
    a centrosymmetric crystal serve), and one temperature in K or one a sample.
    """

    def __init__(self, model: PhononModel, weights: Array) -> None:
        self.tensors = displacement_components(model)  # (n_components, n_atoms, 3, 3)
        self._weights = weights
        self._forms = self.tensors / model.atomic_masses[:, None, None]

    def components(
        self, eigenvalues: Array, vectors: Vectors, temperature: ArrayLike
    ) -> Array:
        """Return the components, (n_samples, n_components) in Angstrom^2."""
        amplitudes = thermal_amplitudes(eigenvalues, temperature)
        return self._contracted(amplitudes.values, vectors)

    def warming(
        self, eigenvalues: Array, vectors: Vectors, temperature: ArrayLike
    ) -> Array:
        """Return their derivatives with the temperature, in Angstrom^2/K."""
        amplitudes = thermal_amplitudes(eigenvalues, temperature)
        return self._contracted(amplitudes.warmings, vectors)

    def slopes(
        self,
        eigenvalues: Array,
        vectors: Vectors,
        temperature: ArrayLike,
        inverse: Array,
        near: NDArray[np.bool_],
    ) -> Vectors:
        r"""Return the gradient of each component with the matrices, between modes.

        Inverse gaps and degeneracies are as from `mode_pairs`. The gradient is a
        Hermitian G of each component and point in the basis of the modes,
        (n_components, n_samples, n_points, n_modes, n_modes): a component changes by
        :math:`\mathrm{Re} \sum_{jk} G_{jk}^* (V^\dagger dD\,V)_{jk}`.
        """
        amplitudes, slopes, _ = thermal_amplitudes(eigenvalues, temperature)
        changes = (amplitudes[..., :, None] - amplitudes[..., None, :]) * inverse
        changes += near * (slopes[..., :, None] + slopes[..., None, :]) / 2
        changes *= self._weights[:, None, None]
        n_atoms, n_modes = self.tensors.shape[1], vectors.shape[-1]
        blocks = vectors.reshape(*vectors.shape[:2], n_atoms, 3, n_modes)
        found = []
        for form in self._forms:
            turned = (form @ blocks).reshape(vectors.shape)
            found.append((vectors.conj().swapaxes(2, 3) @ turned) * changes)
        return np.stack(found)

    def _contracted(self, amplitudes: Array, vectors: Vectors) -> Array:
        n_samples, n_points, n_modes = amplitudes.shape
        n_atoms = self.tensors.shape[1]
        blocks = vectors.reshape(n_samples, n_points, n_atoms, 3, n_modes)
        weighted = (amplitudes * self._weights[:, None])[:, :, None, None]
        products = (blocks * weighted) @ blocks.conj().swapaxes(3, 4)
        sums = products.real.sum(axis=1).reshape(n_samples, -1)
        return sums @ self._forms.reshape(len(self._forms), -1).T
