"""Markov chains of one row of spectra, started from its modes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from skphonon.fitting.chains import Coordinates, no_u_turn
from skphonon.inversion._posterior import Drawn

__all__ = ["chained", "log_bridge"]

Array = NDArray[np.float64]

_CHAINS = 2  # of each mode
_FEWEST = 100  # draws of a mode, at least
_COUNTS = 0.01  # share of the posterior from which on a mode has chains
_LIKE = 4000  # draws that coordinates are taken from
_TRIES = 100  # of starts of stable crystals
_ROUNDS = 100  # of the equation for the evidence
_SAME = 1e-8


def chained(
    before: Drawn,
    log_proposal: Any,
    modes: Any,
    n_draws: int,
    rng: np.random.Generator,
    progress: bool,
) -> Drawn:
    """Return draws of chains in place of weighted ones.

    Each mode has chains of its own, which count by the share of the weighted draws.

    Parameters
    ----------
    before : Drawn
        Weighted draws.
    log_proposal : callable
        From rows (n, m) to the log of the density that these were drawn with.
    modes : list
        The modes.
    n_draws : int
    rng : Generator
    progress : bool
    """
    if not before.n_effective > 0:
        return before
    target, prior = before.target, before.target.prior
    shares = np.where(before.mode_shares > _COUNTS, before.mode_shares, 0.0)
    shares = shares / shares.sum()
    rows, weights, n_effective, r_hat = [], [], np.inf, 1.0
    for mode, share in zip(modes, shares, strict=True):
        if not share:
            continue
        own = mode.proposal(prior.bounds)
        found = no_u_turn(
            target.log_posterior,
            _starts(mode, target, rng),
            Coordinates(own.sample(_LIKE, rng), prior.bounds),
            max(int(share * n_draws), _FEWEST),
            int(rng.integers(2**31)),
            progress,
        )
        rows.append(found.rows)
        weights.append(np.full(len(found.rows), share / len(found.rows)))
        n_effective = min(n_effective, found.n_effective / share)
        r_hat = max(r_hat, found.r_hat)
    drawn, weight = np.vstack(rows), np.concatenate(weights)
    likelihood, log_prior = target.log_likelihood(drawn), prior.log_density(drawn)
    allowed, allowed_std = target.allowed
    refused = before.log_refused
    evidence, error = log_bridge(
        before.log_likelihood + before.log_prior + allowed - before.log_proposal,
        likelihood + log_prior - log_proposal(drawn),
        weight,
        n_effective,
        refused,
    )
    return before._replace(
        rows=drawn,
        weights=weight,
        log_likelihood=likelihood,
        log_prior=log_prior - allowed,
        log_proposal=np.full(len(drawn), np.nan),
        log_evidence=evidence - allowed,
        log_evidence_std=float(np.hypot(error, allowed_std)),
        n_effective=min(n_effective, float(len(drawn))),
        shape=np.nan,
        r_hat=r_hat,
        n_chains=_CHAINS if len(rows) == 1 else 1,
        mode_shares=shares,
    )


def _starts(mode: Any, target: Any, rng: np.random.Generator) -> Array:
    """Return where the chains of a mode start."""
    rows = mode.proposal(target.prior.bounds).sample(_TRIES, rng)
    stable = rows[target.prior.stable(rows, target.n_constants)][:_CHAINS]
    missing = np.repeat(mode.x[None], _CHAINS - len(stable), axis=0)
    return np.vstack([stable, missing])


def log_bridge(
    proposed: Array,
    drawn: Array,
    weights: Array,
    n_effective: float,
    log_refused: float = 0.0,
) -> tuple[float, float]:
    """Return the log of an integral by bridge sampling, and its error.

    X.-L. Meng and W. H. Wong, Statistica Sinica 6, 831 (1996); the error is that of
    S. Frühwirth-Schnatter, Econometrics J. 7, 143 (2004).

    Parameters
    ----------
    proposed : ndarray of shape (n,)
        Log of integrand over proposal at draws of the proposal.
    drawn : ndarray of shape (k,)
        The same at draws of the normalised integrand.
    weights : ndarray of shape (k,)
        Of these, which add up to one.
    n_effective : float
        How many independent ones they are worth.
    log_refused : float, default=0.0
        Log of n over how many were proposed, those where the integrand is zero too.
    """
    number = len(proposed) * np.exp(-log_refused)
    own = n_effective / (n_effective + number)
    log_own, log_other = np.log(own), np.log1p(-own)
    found = float(logsumexp(proposed) - np.log(number))
    for _ in range(_ROUNDS):
        # numerator: over proposals; denominator: over draws of the integrand
        above = proposed - np.logaddexp(log_own + proposed, log_other + found)
        below = -np.logaddexp(log_own + drawn, log_other + found)
        before = found
        found = float(logsumexp(above) - np.log(number) - logsumexp(below, b=weights))
        if not abs(found - before) > _SAME:
            break
    above, below = np.exp(above - above.max()), np.exp(below - below.max())
    mean = above.sum() / number
    spread = np.square(above).sum() / number / mean**2 - 1
    middle = weights @ below
    other = weights @ np.square(below) / middle**2 - 1
    return found, float(np.sqrt(max(spread, 0) / number + max(other, 0) / n_effective))
