r"""Where phonons lie in energy and how strongly each scatters, and their derivatives.

A one-phonon spectrum is :math:`I = v^\dagger F(D)\,v = \sum_j |w_j^\dagger v|^2
F(\lambda_j)`: a matrix function of the dynamical matrix :math:`D` (eigenvalues
:math:`\lambda_j`, eigenvectors :math:`w_j`) between scattering amplitudes :math:`v`.
It is a smooth function of :math:`D` although single eigenvectors are not, and so is its
derivative (Daleckii and Krein; Higham, *Functions of Matrices*, theorem 3.11,
doi:10.1137/1.9780898717778),

.. math:: dI = \sum_{jl} u_j^\dagger\,dD\,u_l\,F[\lambda_j, \lambda_l], \qquad
          u_j = w_j w_j^\dagger v, \qquad
          F[a, b] = \frac{F(a) - F(b)}{a - b} \to F'(a),

in which :math:`F[\lambda_j, \lambda_l]` adds to the lines of both modes. So every
derivative is a set of weights of :math:`F(\lambda_j)` and of :math:`F'(\lambda_j)`.

All functions are batched over points n and parameter sets s, on torch tensors of any
device. Crystals with one atom a cell have a closed form; their arrays carry matrix
elements first, (6, s, n). Others are diagonalised, in arrays (n, s, ...).
"""

from typing import NamedTuple

import numpy as np
import torch

__all__ = [
    "PACKED",
    "Lines",
    "Responses",
    "cubic_lines",
    "cubic_responses",
    "lines",
    "response_weights",
    "responses",
]

#: Packed elements (XX, YY, ZZ, XY, XZ, YZ) of a symmetric matrix, flattened.
PACKED = np.array([0, 4, 8, 1, 2, 5])


class Lines(NamedTuple):
    r"""Spectral lines of single modes.

    Parameters
    ----------
    eigenvalues : Tensor
        Squared energies in meV^2, negative where a mode is unstable.
    strengths : Tensor
        :math:`|w_j^\dagger v|^2`.
    """

    eigenvalues: torch.Tensor
    strengths: torch.Tensor


class Responses(NamedTuple):
    r"""Spectral lines, and how they change with each parameter.

    Parameters
    ----------
    eigenvalues : Tensor
        Squared energies in meV^2, negative where a mode is unstable.
    strengths : Tensor
        :math:`|w_j^\dagger v|^2`.
    values : Tensor
        Weights of F at the eigenvalues, with an axis of parameters.
    slopes : Tensor
        Weights of its derivative at the eigenvalues, of the same shape.
    parts : Tensor, default=None
        Share of each component of v in the strengths.
    """

    eigenvalues: torch.Tensor
    strengths: torch.Tensor
    values: torch.Tensor
    slopes: torch.Tensor
    parts: torch.Tensor | None = None


def lines(matrices: torch.Tensor, amplitudes: torch.Tensor) -> Lines:
    r"""Return the lines of dynamical matrices, by diagonalisation.

    Parameters
    ----------
    matrices : Tensor of shape (..., n_modes, n_modes)
        Dynamical matrices in meV^2, real symmetric or complex Hermitian.
    amplitudes : Tensor of shape (..., n_modes)
        Scattering amplitudes :math:`v`, real.

    Returns
    -------
    Lines
        Arrays of shape (..., n_modes), eigenvalues ascending.
    """
    eigenvalues, projections = _projections(matrices, amplitudes)
    return Lines(eigenvalues, _square(projections).sum(dim=-1))


def responses(
    matrices: torch.Tensor, amplitudes: torch.Tensor, basis: torch.Tensor
) -> Responses:
    r"""Return lines with their derivatives, by diagonalisation.

    Parameters
    ----------
    matrices : Tensor of shape (n_points, n_samples, n_modes, n_modes)
        Dynamical matrices in meV^2, real symmetric or complex Hermitian.
    amplitudes : Tensor of shape (n_points, n_samples, n_modes)
        Scattering amplitudes :math:`v`, real.
    basis : Tensor of shape (n_points, n_parameters, n_modes, n_modes)
        Derivatives of the matrices; or with an axis of samples after the first.

    Returns
    -------
    Responses
        Eigenvalues and strengths of shape (n_points, n_samples, n_modes); values and
        slopes of shape (n_points, n_samples, n_modes, n_parameters), for constant
        amplitudes; parts of shape (n_points, n_samples, n_modes, n_modes), the share
        of each component of :math:`v` in each strength.
    """
    eigenvalues, projections = _projections(matrices, amplitudes)
    values, slopes = response_weights(eigenvalues, projections, basis)
    parts = (projections.conj() * amplitudes[:, :, None]).real
    return Responses(eigenvalues, parts.sum(dim=-1), values, slopes, parts)


def response_weights(
    eigenvalues: torch.Tensor, projections: torch.Tensor, basis: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weights that make up the derivatives of a function of a matrix.

    Parameters
    ----------
    eigenvalues : Tensor of shape (n_points, n_samples, n_modes)
        Of the matrices.
    projections : Tensor of shape (n_points, n_samples, n_modes, n_components)
        Projections :math:`u_j` of the amplitudes on each mode.
    basis : Tensor of shape (n_points, n_parameters, n_components, n_components)
        Derivatives of the matrices; or with an axis of samples after the first.

    Returns
    -------
    values, slopes : Tensor of shape (n_points, n_samples, n_modes, n_parameters)
        Weights of the function at the eigenvalues, and of its derivative there.
    """
    inverse, near = _gaps(eigenvalues)
    coupled = torch.stack(
        [2 * inverse.to(projections) @ projections, near.to(projections) @ projections],
        dim=2,
    )  # (n, s, 2, j, c)
    few = basis.shape[-3] < 2 * basis.shape[-1]
    weights = (_by_parameter if few else _by_line)(projections, coupled, basis)
    return weights[:, :, 0], weights[:, :, 1]


def _by_parameter(projections, coupled, basis):
    """Re u_j . B v of all lines and both couplings v, (n, s, 2, j, p)."""
    n_parameters = basis.shape[-3]
    rows = projections.conj()
    if basis.dim() == 4:
        rows = rows.flatten(1, 2)
    moved = rows @ basis.movedim(-3, -2).flatten(-2)  # u_j . B, all parameters
    moved = moved.reshape(*projections.shape[:3], n_parameters, -1)
    return (moved @ coupled.permute(0, 1, 3, 4, 2)).real.permute(0, 1, 4, 2, 3)


def _by_line(projections, coupled, basis):
    """Return the same by outer products, for many parameters."""
    outer = projections.conj()[:, :, None, :, :, None] * coupled[..., None, :]
    n_points, n_samples, _, n_modes = coupled.shape[:4]
    shared = basis.dim() == 4
    if basis.is_complex():
        outer = torch.view_as_real(outer).flatten(-3)
        basis = torch.view_as_real(basis.conj_physical()).flatten(-3)
    else:
        outer, basis = outer.flatten(-2), basis.flatten(-2)
    leading = (n_points, -1) if shared else (n_points, n_samples, -1)
    weights = outer.reshape(*leading, outer.shape[-1]) @ basis.mT
    return weights.reshape(n_points, n_samples, 2, n_modes, -1)


def _projections(matrices, amplitudes):
    """Eigenvalues (..., j) and the projections u of v on each mode, (..., j, c)."""
    eigenvalues, vectors = torch.linalg.eigh(matrices)
    vectors = vectors.mT
    overlap = vectors.conj() @ amplitudes.to(vectors)[..., None]
    return eigenvalues, vectors * overlap


def _square(x):
    return (x * x.conj()).real if x.is_complex() else x * x


def _gaps(eigenvalues):
    """Inverse gaps between modes, 0 for degenerate ones, and who is degenerate."""
    gaps = eigenvalues[..., :, None] - eigenvalues[..., None, :]
    scale = eigenvalues.abs().amax(dim=-1)[..., None, None]
    near = gaps.abs() <= _same_eigenvalue(eigenvalues) * scale
    return torch.where(near, 0.0, 1 / torch.where(near, 1.0, gaps)), near


def _same_eigenvalue(tensor):
    """Relative gap below which two modes count as one; its square is then lost."""
    return 10 * torch.finfo(tensor.dtype).eps ** 0.5


def _same_root(tensor):
    """Relative gap for roots of a cubic: projections err by eps over its square."""
    return torch.finfo(tensor.dtype).eps ** (1 / 3)


def cubic_lines(matrices: torch.Tensor, q_vectors: torch.Tensor) -> Lines:
    r"""Return the lines of 3 x 3 dynamical matrices in closed form.

    The intensity :math:`|Q \cdot e_j|^2` needs no eigenvector: the three of them are
    fixed by the eigenvalues and the moments :math:`Q \cdot Q`, :math:`Q \cdot D Q`
    and :math:`|DQ|^2`. The eigenvalues come from the trigonometric solution of the
    cubic (Smith, Commun. ACM 4, 168 (1961), doi:10.1145/355578.366316), which is
    several times as fast as a general diagonalisation and, at 1e-8 of the largest
    eigenvalue, exact enough for a spectrum. Where modes are degenerate the split of
    the intensity between them is arbitrary; their sum is right.

    Parameters
    ----------
    matrices : Tensor of shape (6, ..., n_points)
        Packed dynamical matrices (XX, YY, ZZ, XY, XZ, YZ) in meV^2.
    q_vectors : Tensor of shape (3, n_points)
        Momentum transfers, Cartesian, in 1/Angstrom.

    Returns
    -------
    Lines
        Arrays of shape (3, ..., n_points), highest eigenvalue first.
    """
    cubic = _solve(matrices)
    x, y, z = q_vectors
    image_x, image_y, image_z = _image(cubic.unit, q_vectors)
    zeroth = x * x + y * y + z * z
    first = x * image_x + y * image_y + z * image_z
    second = image_x * image_x + image_y * image_y + image_z * image_z

    roots = cubic.outer_roots
    outer = (second + roots * first + (roots * roots - 3) * zeroth) / cubic.gaps
    outer = outer.clamp(min=torch.zeros_like(zeroth), max=zeroth)
    # where a root meets the middle one its share is noise: the other one is right
    excess = (outer[0] + outer[1] - zeroth).clamp(min=0.0)
    outer -= excess * (cubic.gaps < cubic.gaps.flip(0))
    middle = (zeroth - outer[0] - outer[1]).clamp(min=0.0)
    strengths = torch.stack([outer[0], middle, outer[1]])
    return Lines(cubic.eigenvalues, strengths)


def cubic_responses(
    matrices: torch.Tensor, amplitudes: torch.Tensor, basis: torch.Tensor
) -> Responses:
    r"""Return lines of 3 x 3 matrices with their derivatives, in closed form.

    The projections :math:`u_j` are combinations of :math:`v`, :math:`Dv` and
    :math:`D^2 v`; no eigenvector is needed here either.

    Parameters
    ----------
    matrices : Tensor of shape (6, n_samples, n_points)
        Packed dynamical matrices (XX, YY, ZZ, XY, XZ, YZ) in meV^2.
    amplitudes : Tensor of shape (3, n_samples, n_points)
        Scattering amplitudes :math:`v`.
    basis : Tensor of shape (n_parameters, 6, n_points)
        Packed derivatives of the matrices; or with an axis of samples before the
        last.

    Returns
    -------
    Responses
        Eigenvalues and strengths of shape (3, n_samples, n_points), values and slopes
        of shape (3, n_parameters, n_samples, n_points), for constant amplitudes.
    """
    cubic = _solve(matrices)
    u = _cubic_projections(cubic, amplitudes)
    if basis.dim() == 3:
        basis = basis[:, :, None]
    elements = basis.unbind(1)
    lam = cubic.eigenvalues
    slopes = lam.new_empty(3, len(basis), *lam.shape[1:])
    for j in range(3):
        _contract(elements, u[j], u[j], slopes[j])
    values, coupling = torch.empty_like(slopes), torch.empty_like(slopes[0])
    scale = lam.abs().amax(dim=0) * _same_root(lam)
    for j, k in ((0, 1), (0, 2), (1, 2)):
        _contract(elements, u[j], u[k], coupling)
        gap = lam[j] - lam[k]
        near = gap <= scale
        share = 2 / torch.where(near, torch.inf, gap)
        if k == 1:
            torch.mul(coupling, share, out=values[0])
            torch.neg(values[0], out=values[1])
        elif j == 0:
            values[0].addcmul_(coupling, share)
            torch.mul(coupling, -share, out=values[2])
        else:
            values[1].addcmul_(coupling, share)
            values[2].addcmul_(coupling, share, value=-1)
        if near.any():
            slopes[j].addcmul_(coupling, near.to(coupling))
            slopes[k].addcmul_(coupling, near.to(coupling))
    # u . v rather than |u|^2: right in sum where two modes are hard to tell apart
    return Responses(lam, (u * amplitudes).sum(dim=1), values, slopes)


def _contract(basis, u, v, total):
    """U . B v of each parameter, into `total` (n_parameters, n_samples, n_points)."""
    products = [u[a] * v[a] for a in range(3)]
    products += [u[a] * v[b] + u[b] * v[a] for a, b in ((0, 1), (0, 2), (1, 2))]
    torch.mul(basis[0], products[0], out=total)
    for element, product in zip(basis[1:], products[1:], strict=True):
        total.addcmul_(element, product)


class _Cubic(NamedTuple):
    """Eigenvalues: mean + radius * (roots of a cubic whose roots sum to zero)."""

    eigenvalues: torch.Tensor  # (3, ...), highest first
    unit: list  # packed elements of the matrix less its mean, in units of the radius
    outer_roots: torch.Tensor  # (2, ...): highest and lowest, in units of the radius
    gaps: torch.Tensor  # (2, ...): product of the distances to the other two


def _solve(matrices):
    xx, yy, zz, xy, xz, yz = matrices
    mean = (xx + yy + zz) / 3
    xx, yy, zz = xx - mean, yy - mean, zz - mean
    half = (xx * xx + yy * yy + zz * zz + 2 * (xy * xy + xz * xz + yz * yz)) / 6
    tiny = torch.finfo(half.dtype).tiny ** 0.5  # three equal modes
    radius = half.clamp(min=tiny).sqrt()
    unit = [element / radius for element in (xx, yy, zz, xy, xz, yz)]
    xx, yy, zz, xy, xz, yz = unit
    determinant = (
        xx * (yy * zz - yz * yz) - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz)
    )
    cosine = ((determinant / 2).clamp(-1.0, 1.0).arccos() / 3).cos()  # of 0 to 60 deg
    sine = (1 - cosine * cosine).sqrt()
    highest, lowest = 2 * cosine, -cosine - 3**0.5 * sine
    roots = torch.stack([highest, -highest - lowest, lowest])
    outer = torch.stack([highest, lowest])
    eps = torch.finfo(half.dtype).eps
    gaps = (3 * (outer * outer - 1)).clamp(min=eps)
    return _Cubic(mean + radius * roots, unit, outer, gaps)


def _image(packed, vector):
    xx, yy, zz, xy, xz, yz = packed
    x, y, z = vector
    return (
        xx * x + xy * y + xz * z,
        xy * x + yy * y + yz * z,
        xz * x + yz * y + zz * z,
    )


def _cubic_projections(cubic, total):
    """Projections of v on the three modes, (3 modes, 3 components, ...)."""
    first = _image(cubic.unit, total)
    second = torch.stack(_image(cubic.unit, first))
    first = torch.stack(first)
    projections = torch.empty(3, *first.shape, dtype=first.dtype, device=first.device)
    for mode, root, gap in zip((0, 2), cubic.outer_roots, cubic.gaps, strict=True):
        share = (second + root * first + (root * root - 3) * total) / gap
        # too close to the middle root to be told from it: the middle one takes all
        projections[mode] = share * (gap > _same_root(gap))
    projections[1] = total - projections[0] - projections[2]
    return projections
