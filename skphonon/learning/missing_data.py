"""Features of spectra with missing data.

A single crystal fills a part of a four-dimensional grid, another part in each
orientation. Rows hold NaN where nothing was measured, in training and afterwards.
"""

import copy
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from skphonon._validation import (
    at_least,
    positive,
    validate_spectra,
)
from skphonon._versioned import VersionedEstimator
from skphonon.learning._components import (
    known_voxels,
    learn_basis,
    project,
    same_voxels,
    square,
    square_of_seen,
)
from skphonon.learning._extractor import SpectrumExtractor
from skphonon.learning._networks import Autoencoder
from skphonon.learning._posterior_codes import Decoder, Evidence, evidence, fit_codes
from skphonon.learning._training import new_generator
from skphonon.learning.architectures import Dense

__all__ = ["PosteriorCodes", "PosteriorInference", "as_inference"]

_SMALLEST_SPREAD = 1e-4  # of codes in the prior, against rounding
_N_CANDIDATES = 1000  # training codes among which a search begins
_ROUNDING = 1e-6  # of the brightest voxel, allowed below zero in simulations
_ROWS_AT_ONCE = 32  # spectra whose codes are sought together


class PosteriorInference(VersionedEstimator):
    r"""Codes that fit what was measured best, for spectra with missing data.

    Settings of :class:`~skphonon.learning.VAEFeatureExtractor` with
    ``inference="posterior"``. In `fit` its autoencoder learns from simulated spectra,
    which are not negative and should be complete: from the coefficients of their
    principal components to codes and back. It sees neither gaps nor noise. (Gaps of
    training spectra are filled by the components of the others; the network learns less
    from them.) In `transform` only its decoder is used: the code of a spectrum is the
    one whose decoded spectrum fits the measured voxels best, in

    .. math:: x_v = s\,(\mathrm{decoded}_v + \delta_v) + \sum_k \beta_k \phi_{kv}
              + \mathrm{noise}_v,

    with unknown scale s and coefficients :math:`\beta` of a smooth background, both
    fitted too, the error :math:`\delta` of the decoder, of the size that it has for
    spectra held out in `fit`, and the normal distribution of training codes as prior.
    The standard deviation of a code is that of the posterior distribution at its
    maximum: it grows as voxels or counts become fewer, up to the spread of the training
    set. One training set therefore serves for all orientations, dead detectors and
    counting times. For principal components of data with gaps see [1]_.

    The variance of the noise is that of counts: proportional to the mean training
    spectrum (and `floor`), of a size that follows from what no component explains. Rows
    may be counts in any unit, also with a background subtracted, but not divided by
    their errors.

    With few counts several codes may fit a spectrum well. The standard deviation is
    that around the best one alone.

    `partial_fit` trains on the most probable coefficients, given what was measured:
    where that says nothing, they are those that the decoder gave before.

    Parameters
    ----------
    background : array-like of shape (n_terms, n_features) or None, default=None
        Shapes of the background, such as 1 and the energy of each voxel, with any
        coefficients. None: a constant.
    floor : float, default=0.1
        Background that the weights of voxels assume, in units of the mean intensity.
        Without it the darkest voxels would count most.
    n_starts : int, default=3
        Number of training codes, the most probable ones, from which the search for a
        code begins.

    References
    ----------
    .. [1] R. Everson and L. Sirovich, "Karhunen-Loeve procedure for gappy data", 1995,
       https://doi.org/10.1364/JOSAA.12.001657

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.learning import PosteriorInference, Trainer, VAEFeatureExtractor
    >>> centre = np.linspace(-1, 1, 200)[:, None]
    >>> X = np.exp(-4 * (np.linspace(-2, 2, 60) - centre) ** 2)  # moving peaks
    >>> extractor = VAEFeatureExtractor(
    ...     2, inference=PosteriorInference(n_starts=2), trainer=Trainer(max_epochs=60),
    ...     random_state=0,
    ... ).fit(X)
    >>> seen = X.copy()
    >>> seen[:, ::2] = np.nan
    >>> extractor.transform(seen).shape
    (200, 2)
    """

    _parameter_constraints = {
        "background": ["array-like", None],
        "floor": [positive()],
        "n_starts": [at_least(1)],
    }

    def __init__(self, background=None, *, floor=0.1, n_starts=3):
        self.background = background
        self.floor = floor
        self.n_starts = n_starts


def as_inference(given: Any) -> Any:
    """Return what the value of `inference` stands for."""
    short = isinstance(given, str) and given == "posterior"
    return PosteriorInference() if short else given


class PosteriorCodes(SpectrumExtractor):
    """What an extractor does with ``inference="posterior"``."""

    def _transformed(self, X):
        mean, std = self._encode(X)
        return mean if self.output == "mean" else np.hstack([mean, std])

    def _validate(self, X, reset=False):
        """Return the voxels of spectra that training saw."""
        X = validate_spectra(
            self,
            X,
            dtype=np.float32,
            reset=reset,
            ensure_all_finite="allow-nan",
            ensure_min_samples=2 if reset else 1,  # one spectrum spans nothing
        )
        if reset:
            self.seen_ = np.isfinite(X).any(axis=0)
        return known_voxels(X, self.seen_)

    def _set_up(self, X):
        """Forget the past; return a new net, the spectra and its inputs."""
        random_state = self._forget()
        network = self._part("network")
        if not isinstance(network, Dense):
            raise ValueError(
                "inference='posterior' needs dense layers on principal components, got "
                f"network={self.network!r}."
            )
        X = self._validate(X, reset=True)
        # scikit-learn's own check takes NaN for a minimum, and rounding for a value
        if np.nanmin(X) < -_ROUNDING * np.nanmax(X):
            raise ValueError(
                f"Negative values in data passed to {type(self).__name__}. Training "
                "spectra must be intensities without a background subtracted."
            )
        generator = new_generator(random_state)
        coefficients = self._fit_basis(X, random_state)
        spread = np.sqrt(self.variance_)
        scale = np.where(spread > 0, spread, 1.0) ** -(self._value("weighting") or 0.0)
        size = np.sqrt(np.mean(np.square(scale * spread)))
        self.input_scale_ = np.float32(scale / (size if size > 0 else 1.0))
        self.n_components_, self.n_columns_ = int(self.n_components), 0
        module = Autoencoder(
            (self.n_compressed_, int(network.hidden_size), self.n_components_),
            variational=True,
            bounded=network.bounded,
            image=None,
            generator=generator,
            residual=network.residual is not False,
        )
        net = self._new_net(module, generator, self.n_components_)
        return net, X, np.float32(coefficients * self.input_scale_)

    def _prepare(self, X):
        return X, np.float32(self._infer(X)[2] * self.input_scale_)

    def _jitter(self):
        noise = self._value("noise")
        if noise == 0:
            return None
        return noise * self.input_scale_ * np.sqrt(self.variance_.mean())

    def _fit_basis(self, X, random_state):
        """Learn mean, weights and components; return the coefficients of X."""
        background = self._background_rows()
        floor, n_kept = self._part("inference").floor, self._value("compression")
        if n_kept is None:
            raise ValueError(
                "inference='posterior' works on principal components, got "
                "compression=None. Give their number."
            )
        basis = learn_basis(X, n_kept, floor, True, random_state)
        self.weights_, self.least_noise_ = basis.weights, basis.left
        self.variance_ = np.square(basis.spread)
        self.n_compressed_ = len(basis.spread)
        mean, *background = np.vstack([basis.mean, background]) * basis.weights
        self.basis_ = np.column_stack([mean, basis.components, *background])
        self._square = square(self.basis_)
        return basis.coefficients

    def _background_rows(self):
        n_features = len(self.seen_)
        background = self._part("inference").background
        if background is None:
            return np.ones((1, int(self.seen_.sum())), dtype=np.float32)
        rows = check_array(background, dtype=np.float32, input_name="background")
        if rows.shape[1] != n_features:
            raise ValueError(
                f"background must have one column for each of the {n_features} "
                f"features of X, got shape {rows.shape}."
            )
        return rows[:, self.seen_]

    def _module(self):
        """Return the network, on the CPU, where codes are sought."""
        on_cpu = torch.device(self.net_.device).type == "cpu"
        return self.net_.module_ if on_cpu else copy.deepcopy(self.net_.module_).cpu()

    def _encode(self, X):
        codes, covariances, _ = self._infer(X)
        variances = np.diagonal(covariances, axis1=1, axis2=2)
        return np.float32(codes), np.float32(np.sqrt(variances))

    def _decode(self, codes):
        n = 1 + self.n_compressed_
        with torch.inference_mode():
            decoded = self._module().decoder(torch.as_tensor(codes))
        coefficients = decoded.numpy() / self.input_scale_
        spectra = coefficients @ self.basis_[:, 1:n].T
        spectra += self.basis_[:, 0]
        spectra /= self.weights_
        X = np.full((len(codes), len(self.seen_)), np.nan, dtype=np.float32)
        X[:, self.seen_] = spectra
        return X

    def _conclude(self, X, inputs, held_out=(), earlier=None):
        """Learn the spread of codes and the error of the decoder, in `fit`."""
        if earlier is not None:
            return
        with torch.inference_mode():
            again, codes, _ = self._module()(torch.as_tensor(inputs))
        codes = codes.numpy().astype(float)
        judged = held_out if len(held_out) else slice(None)
        error = ((again.numpy() - inputs) / self.input_scale_)[judged]
        self.error_variance_ = np.square(error.astype(float)).mean(axis=0)
        self.code_mean_ = codes.mean(axis=0)
        covariance = np.atleast_2d(np.cov(codes.T))
        # what hardly varies must not be known beyond rounding
        covariance += (
            _SMALLEST_SPREAD**2 * (np.trace(covariance) + 1) * np.eye(len(covariance))
        )
        self.code_precision_ = np.linalg.inv(covariance)
        self.candidates_ = codes[:_N_CANDIDATES]

    def _infer(self, X):
        """Return codes, their covariances and coefficients of spectra."""
        check_is_fitted(self)
        X = self._validate(X)
        decoder = Decoder(self._module().decoder, self.input_scale_)
        parts = []
        for start in range(0, len(X), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            with torch.no_grad():
                found = fit_codes(
                    decoder,
                    self._evidence(X[rows]),
                    self.error_variance_,
                    (self.code_mean_, self.code_precision_),
                    self.candidates_,
                    self._part("inference").n_starts,
                )
            parts.append(found)
        return tuple(np.concatenate(each) for each in zip(*parts, strict=True))

    def _evidence(self, X):
        """Reduce rows to a few numbers that determine the coefficients."""
        found = [None] * len(X)
        for group, seen, rows in same_voxels(X, np.arange(len(X))):
            square = square_of_seen(self.basis_, self._square, seen)
            # rounding of single precision may decide between two codes
            rows = rows.astype(float) * self.weights_[seen]
            products = project(rows, self.basis_, seen)
            lengths = np.square(rows).sum(axis=1, dtype=float)
            for row, product, length in zip(group, products, lengths, strict=True):
                # to the scale of the training spectra, roughly
                scale = abs(product[0]) / square[0, 0] if square[0, 0] > 0 else 0.0
                scale = scale if scale > 0 else 1.0
                found[row] = evidence(
                    square,
                    product / scale,
                    length / scale**2,
                    len(seen),
                    self.variance_,
                    self.least_noise_,
                )
        return Evidence(*(np.array(each) for each in zip(*found, strict=True)))
