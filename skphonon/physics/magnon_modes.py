r"""Where magnons lie in energy and how strongly each scatters, and their derivatives.

Spin deviations :math:`\psi_i` of a collinear magnet obey
:math:`[\psi_i, \psi_j^\dagger] = \sigma_i \delta_{ij}`, with the direction
:math:`\sigma_i = \pm 1` of spin i, so that the Hamiltonian :math:`\psi^\dagger M \psi`
makes them oscillate as :math:`i\hbar\dot\psi = \sigma M \psi`. Of a positive definite
:math:`M = K K^\dagger` the modes follow from a Hermitian problem (Colpa, Physica A 93,
327 (1978), doi:10.1016/0378-4371(78)90160-7),

.. math:: K^\dagger \sigma K\,u_j = \omega_j u_j, \qquad
          x_j = \sigma K u_j / \sqrt{|\omega_j|}, \qquad
          x_j^\dagger \sigma x_l = \pm \delta_{jl},

of energies :math:`|\omega_j|`; the sign of :math:`\omega_j` says which of the two
transverse operators makes the magnon.

A spectrum is a matrix function, :math:`I = v^\dagger h(\sigma M)\,\sigma v`, with
:math:`h(\omega_j) = \pm F(|\omega_j|)`. So its derivatives are those of
:mod:`~skphonon.physics.modes` and hold at degenerate modes.

Where M is not positive definite the assumed order is unstable; a mode of (almost) no
energy, a Goldstone mode at its very wavevector, is Bragg scattering. Neither scatters
here.
"""

from typing import NamedTuple

import torch

__all__ = ["Magnons", "Responses", "lines", "magnons", "responses"]

# In units of the largest diagonal element: what is added to the diagonal to make
# Goldstone modes definite, and the energy (well above its root) below which they are.
_SHIFT, _STILL = 1e-12, 1e-5


class Responses(NamedTuple):
    r"""Spectral lines, and how they change with each parameter.

    Parameters
    ----------
    energies : Tensor of shape (n_points, n_samples, n_modes)
        :math:`|\omega_j|`.
    strengths : Tensor of the same shape
        :math:`|x_j^\dagger v|^2`.
    values : Tensor of shape (n_points, n_samples, n_modes, n_parameters)
        Weights of a function F at the energies.
    slopes : Tensor of the same shape
        Weights of its derivative there.
    """

    energies: torch.Tensor
    strengths: torch.Tensor
    values: torch.Tensor
    slopes: torch.Tensor


class Magnons(NamedTuple):
    r"""Modes of some matrices.

    Parameters
    ----------
    frequencies : Tensor of shape (..., n_modes)
        :math:`\omega_j` in the unit of the matrices, ascending.
    modes : Tensor of shape (..., n_modes, n_modes)
        :math:`x_j` in rows; zero for what does not scatter.
    stable : Tensor of bool of shape (...)
        Whether the matrix is positive definite.
    """

    frequencies: torch.Tensor
    modes: torch.Tensor
    stable: torch.Tensor


def magnons(matrices: torch.Tensor, signs: torch.Tensor) -> Magnons:
    r"""Return the modes of matrices of a collinear magnet.

    Parameters
    ----------
    matrices : Tensor of shape (..., n_modes, n_modes)
        :math:`M`, real symmetric or complex Hermitian.
    signs : Tensor of shape (n_modes,)
        Directions :math:`\sigma_i` of the spins, 1 or -1.

    Returns
    -------
    Magnons
        Frequencies, modes and whether the order is stable.
    """
    root, scale, stable = _root(matrices)
    signed = signs[:, None] * root
    frequencies, vectors = torch.linalg.eigh(root.mH @ signed)
    moving = (frequencies.abs() > _STILL * scale[..., None]) & stable[..., None]
    size = torch.where(moving, frequencies, 1.0).abs().rsqrt() * moving
    return Magnons(frequencies, (signed @ vectors).mT * size[..., None], stable)


def _root(
    matrices: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Lower triangular roots, the largest diagonal elements, and who has a root."""
    diagonal = torch.linalg.diagonal(matrices).real
    scale = diagonal.abs().amax(dim=-1)
    unit = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    shifted = matrices + (_SHIFT * scale)[..., None, None] * unit
    root, failed = torch.linalg.cholesky_ex(shifted)
    stable = failed == 0
    return torch.where(stable[..., None, None], root, unit), scale, stable


def lines(
    found: Magnons, amplitudes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Return the energies of magnons and how strongly each scatters.

    Parameters
    ----------
    found : Magnons
        Of shapes (..., n_modes).
    amplitudes : Tensor of shape (..., n_modes)
        :math:`v`, real.

    Returns
    -------
    energies : Tensor of shape (..., n_modes)
        :math:`|\omega_j|`; arbitrary where the order is unstable.
    strengths : Tensor of shape (..., n_modes)
        :math:`|x_j^\dagger v|^2`.
    """
    overlaps = _overlaps(found, amplitudes)
    return found.frequencies.abs(), overlaps.abs().square()


def responses(
    found: Magnons, amplitudes: torch.Tensor, basis: torch.Tensor
) -> Responses:
    r"""Return lines with their derivatives.

    Parameters
    ----------
    found : Magnons
        Of shapes (n_points, n_samples, n_modes).
    amplitudes : Tensor of shape (n_points, 1, n_modes)
        :math:`v`, real.
    basis : Tensor of shape (n_points, n_parameters, n_modes, n_modes)
        Derivatives of the matrices.

    Returns
    -------
    Responses
        Energies, strengths and the weights of functions of energy.
    """
    energies, strengths = lines(found, amplitudes)
    sense = torch.sign(found.frequencies)
    projections = found.modes * (sense * _overlaps(found, amplitudes))[..., None]
    values, slopes = _response_weights(found.frequencies, projections, basis)
    # h is odd: its values have the sign of the frequency, its slopes have not
    return Responses(energies, strengths, values * sense[..., None], slopes)


def _overlaps(found: Magnons, amplitudes: torch.Tensor) -> torch.Tensor:
    """x_j . v of all modes, (..., j)."""
    return (found.modes.conj() @ amplitudes.to(found.modes)[..., None])[..., 0]


def _response_weights(
    eigenvalues: torch.Tensor, projections: torch.Tensor, basis: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights of a function of matrices and of its derivative, (n, s, j, p)."""
    inverse, near = _gaps(eigenvalues)
    coupled = torch.stack(
        [2 * inverse.to(projections) @ projections, near.to(projections) @ projections],
        dim=2,
    )  # (n, s, 2, j, c)
    few = basis.shape[-3] < 2 * basis.shape[-1]
    weights = (_by_parameter if few else _by_line)(projections, coupled, basis)
    return weights[:, :, 0], weights[:, :, 1]


def _by_parameter(
    projections: torch.Tensor, coupled: torch.Tensor, basis: torch.Tensor
) -> torch.Tensor:
    """Re u_j . B v of all lines and both couplings v, (n, s, 2, j, p)."""
    n_parameters = basis.shape[-3]
    rows = projections.conj().flatten(1, 2)
    moved = rows @ basis.movedim(-3, -2).flatten(-2)  # u_j . B, all parameters
    moved = moved.reshape(*projections.shape[:3], n_parameters, -1)
    return (moved @ coupled.permute(0, 1, 3, 4, 2)).real.permute(0, 1, 4, 2, 3)


def _by_line(
    projections: torch.Tensor, coupled: torch.Tensor, basis: torch.Tensor
) -> torch.Tensor:
    """Return the same by outer products, for many parameters."""
    outer = projections.conj()[:, :, None, :, :, None] * coupled[..., None, :]
    n_points, n_samples, _, n_modes = coupled.shape[:4]
    if basis.is_complex():
        outer = torch.view_as_real(outer).flatten(-3)
        basis = torch.view_as_real(basis.conj_physical()).flatten(-3)
    else:
        outer, basis = outer.flatten(-2), basis.flatten(-2)
    weights = outer.reshape(n_points, -1, outer.shape[-1]) @ basis.mT
    return weights.reshape(n_points, n_samples, 2, n_modes, -1)


def _gaps(eigenvalues: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Inverse gaps between modes, 0 for degenerate ones, and who is degenerate."""
    gaps = eigenvalues[..., :, None] - eigenvalues[..., None, :]
    scale = eigenvalues.abs().amax(dim=-1)[..., None, None]
    near = gaps.abs() <= _same_eigenvalue(eigenvalues) * scale
    return torch.where(near, 0.0, 1 / torch.where(near, 1.0, gaps)), near


def _same_eigenvalue(tensor: torch.Tensor) -> float:
    """Relative gap below which two modes count as one; its square is then lost."""
    return 10 * torch.finfo(tensor.dtype).eps ** 0.5
