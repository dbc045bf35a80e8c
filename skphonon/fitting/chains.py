"""Markov chains with gradients: NUTS, by Pyro.

For densities that no proposal is near to. Each step takes a gradient, so chains cost
far more than importance sampling where that works.
"""

import threading
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

__all__ = ["Chains", "Coordinates", "need_pyro", "no_u_turn"]

Array = NDArray[np.float64]

_WARM_UP = 100  # steps of each chain, with which the length of others is found
_ACCEPTED = 0.8
_DEPTH = 6  # of trees: up to 2^6 gradients a step
_ALONE = threading.Lock()
_EDGE = 1e-9  # of the width between bounds: nearer ones are there


class Coordinates:
    """Coordinates without bounds, in units of standard deviations of a distribution.

    Values between bounds are turned into logits of their place there.

    Parameters
    ----------
    rows : ndarray of shape (n, m)
        Draws of a distribution like that to be sampled, between the bounds.
    bounds : ndarray of shape (2, m)
        Those of which one is infinite are left out.
    """

    def __init__(self, rows: Array, bounds: Array) -> None:
        self._between = np.isfinite(bounds).all(axis=0)
        self._low = np.where(self._between, bounds[0], 0.0)
        self._width = np.where(self._between, bounds[1] - self._low, 1.0)
        free = self._free(rows)
        self._place = free.mean(axis=0)
        self._root = np.linalg.cholesky(np.cov(free.T).reshape(2 * free.shape[1:]))

    def values(self, z: Array) -> tuple[Array, Array, float, Array]:
        """Return values at z, their slopes, and the log volume with its gradient.

        The volume is that of values in the unit of z; slopes are one a value, of what
        `z @ root.T` moves.
        """
        free = self._place + self._root @ z
        share = _expit(np.where(self._between, free, 0.0))
        values = np.where(self._between, self._low + self._width * share, free)
        inner = self._width * share * (1 - share)
        slopes = np.asarray(np.where(self._between, inner, 1.0), dtype=np.float64)
        volume = np.log(slopes).sum()
        bent = np.where(self._between, 1 - 2 * share, 0.0).astype(np.float64)
        gradient: Array = self._root.T @ bent
        return values, slopes, float(volume), gradient

    def pulled(self, gradient: Array, slopes: Array) -> Array:
        """Return the gradient with z of what has a gradient with values."""
        pulled: Array = self._root.T @ (slopes * gradient)
        return pulled

    def back(self, values: Array) -> Array:
        """Return z of values."""
        return np.linalg.solve(self._root, self._free(values) - self._place)

    def _free(self, values: Array) -> Array:
        share = np.where(self._between, (values - self._low) / self._width, 0.5)
        return np.where(self._between, logit(share.clip(_EDGE, 1 - _EDGE)), values)


class Chains(NamedTuple):
    """Draws of several chains, and what they tell of themselves."""

    rows: Array  # (n, m), chain after chain
    n_effective: float  # of the value that has the fewest
    r_hat: float  # of the value whose chains disagree most


def no_u_turn(
    log_density: Callable[[Array], tuple[float, Array]],
    starts: Array,
    coordinates: Coordinates,
    n_draws: int,
    seed: int,
    progress: bool = False,
) -> Chains:
    """Return draws of the No-U-Turn sampler.

    M. D. Hoffman and A. Gelman, J. Mach. Learn. Res. 15, 1593 (2014).

    Parameters
    ----------
    log_density : callable
        From values (m,) to the logarithm of their density and its gradient.
    starts : ndarray of shape (n_chains, m)
    coordinates : Coordinates
    n_draws : int
        Of all chains together.
    seed : int
    progress : bool, default=False
        Whether to show bars.

    Returns
    -------
    Chains

    Raises
    ------
    ImportError
        Without the extra "pyro".
    """
    torch, kernels, stats = need_pyro()

    class Potential(torch.autograd.Function):  # type: ignore[name-defined]
        @staticmethod
        def forward(context: Any, z: Any) -> Any:
            values, slopes, volume, turned = coordinates.values(z.numpy())
            density, gradient = log_density(values)
            if not np.isfinite(density):
                gradient = np.zeros_like(values)
            whole = coordinates.pulled(gradient, slopes) + turned
            context.slope = torch.as_tensor(-whole)
            return torch.tensor(-(density + volume), dtype=torch.float64)

        @staticmethod
        def backward(context: Any, outer: Any) -> Any:
            return outer * context.slope

    length = max(n_draws // len(starts), 2)
    chains = []
    # Pyro, and the seed of torch, are of all threads together
    with _ALONE, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for start in starts:
            kernel = kernels.NUTS(
                potential_fn=lambda found: Potential.apply(found["z"]),
                adapt_mass_matrix=False,
                target_accept_prob=_ACCEPTED,
                max_tree_depth=_DEPTH,
                step_size=0.5,
            )
            run = kernels.MCMC(
                kernel,
                num_samples=length,
                warmup_steps=_WARM_UP,
                initial_params={"z": torch.as_tensor(coordinates.back(start))},
                disable_progbar=not progress,
            )
            run.run()
            chains.append(run.get_samples()["z"].numpy())
    both = torch.as_tensor(np.stack(chains))
    number = stats.effective_sample_size(both, chain_dim=0, sample_dim=1)
    r_hat = stats.split_gelman_rubin(both, chain_dim=0, sample_dim=1)
    rows = [coordinates.values(z)[0] for chain in chains for z in chain]
    return Chains(
        np.array(rows),
        float(np.clip(number.numpy().min(), 1.0, len(rows))),
        float(r_hat.numpy().max()),
    )


def need_pyro() -> tuple[Any, Any, Any]:
    """Return what chains take of torch and Pyro, or say how to get it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own imports
            import torch
            from pyro.infer import mcmc
            from pyro.ops import stats
    except ImportError as error:
        raise ImportError("Chains need Pyro: pip install 'skphonon[pyro]'.") from error
    return torch, mcmc, stats


def _expit(values: Array) -> Array:
    # far out, where a share would be rounded to zero or one, it is not
    found: Array = 1 / (1 + np.exp(-values.clip(-30, 30)))
    return found
