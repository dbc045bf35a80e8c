"""Features of spectra with missing data.

A single crystal fills a part of a four-dimensional grid, another part in each
orientation. Rows hold NaN where nothing was measured, in training and afterwards.
"""

import copy
import numbers

import numpy as np
import torch
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from skphonon._validation import (
    Interval,
    StrOptions,
    at_least,
    positive,
    validate_spectra,
)
from skphonon.learning._components import (
    known_voxels,
    learn_basis,
    project,
    same_voxels,
    square,
    square_of_seen,
)
from skphonon.learning._extractor import SpectrumExtractor
from skphonon.learning._network_estimator import TRAINING
from skphonon.learning._networks import Autoencoder, VariationalLoss
from skphonon.learning._posterior_codes import Decoder, Evidence, evidence, fit_codes
from skphonon.learning._training import new_generator

__all__ = ["GappySpectrumExtractor"]

_SMALLEST_SPREAD = 1e-4  # of codes in the prior, against rounding
_N_CANDIDATES = 1000  # training codes among which a search begins
_ROUNDING = 1e-6  # of the brightest voxel, allowed below zero in simulations
_ROWS_AT_ONCE = 32  # spectra whose codes are sought together


class GappySpectrumExtractor(SpectrumExtractor):
    r"""Compress spectra with missing data to codes with their uncertainty.

    In `fit` a variational autoencoder learns from simulated spectra, which are not
    negative and should be complete: from the coefficients of their principal components
    to codes and back. It sees neither gaps nor noise. (Gaps of training spectra are
    filled by the components of the others; the network learns less from them.) In
    `transform` only its decoder is used: the code of a spectrum is the one whose
    decoded spectrum fits the measured voxels best, in

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
    n_components : int, default=24
        Dimensions of the code.
    compression : int, default=192
        Principal components between voxels and network, at most (see `n_compressed_`).
        The time of `transform` grows with its square, the memory linearly.
    background : array-like of shape (n_terms, n_features) or None, default=None
        Shapes of the background, such as 1 and the energy of each voxel, with any
        coefficients. None: a constant.
    floor : float, default=0.1
        Background that the weights of voxels assume, in units of the mean intensity.
        Without it the darkest voxels would count most.
    hidden_size : int, default=400
        Units of the hidden layers.
    kl_weight : float, default=1e-3
        Weight of the Kullback-Leibler divergence, from 0 to 1; see
        :class:`~skphonon.learning.VAEFeatureExtractor`.
    noise : float, default=0.1
        Largest standard deviation of white noise added to the coefficients in training,
        in units of their root mean square.
    weighting : float, default=0.3
        Power of its standard deviation by which each component is divided in training:
        the larger, the more components count that vary little.
    n_starts : int, default=3
        Number of training codes, the most probable ones, from which the search for a
        code begins.
    output : {"mean", "distribution"}, default="mean"
        Columns of `transform`: codes, or codes followed by standard deviations, for
        ``ForceConstantRegressor(latent="distribution")``. Needs no new `fit`.
    trainer : Trainer or None, default=None
        Settings of training. Its defaults here: 300 epochs at a learning rate of 0.005
        along a cosine, batches of 64, "clipped-adam", a tenth of the spectra held out,
        by which the error of the decoder is judged as well (with none it is too small);
        in `partial_fit` 10 epochs at 1e-4.
    random_state : int, RandomState instance or None, default=None
        Seed of components, first weights, sampled codes, batches and held-out spectra.
    verbose : int, default=0
        Show a progress bar during training if positive.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained network, on scaled coefficients.
    seen_ : ndarray of bool of shape (`n_features_in_`,)
        Voxels that a training spectrum had.
    weights_ : ndarray of shape (n_seen,)
        Weights that make the noise of these voxels equal.
    basis_ : ndarray of shape (n_seen, 1 + `n_compressed_` + n_terms)
        Weighted mean training spectrum, components (orthonormal) and background.
        Training spectra are scaled to a mean of 1.
    variance_ : ndarray of shape (`n_compressed_`,)
        Mean squares of the coefficients of training spectra.
    input_scale_ : ndarray of shape (`n_compressed_`,)
        Factors that bring coefficients to the scale of the network.
    error_variance_ : ndarray of shape (`n_compressed_`,)
        Mean square errors of decoded coefficients of the spectra held out.
    least_noise_ : float
        Variance in a weighted voxel that the components leave of training spectra: the
        least variance of the noise.
    code_mean_, code_precision_ : ndarray of shape (n,) and (n, n), n = `n_components_`
        Mean and inverse covariance of training codes.
    candidates_ : ndarray of shape (n_candidates, `n_components_`)
        Codes of training spectra, at most 1000.
    n_components_ : int
        Dimensions of the code.
    n_compressed_ : int
        Principal components.
    history_ : DataFrame
        Epoch, learning rate and losses of every epoch of `fit` and `partial_fit`.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all are strings.

    See Also
    --------
    skphonon.learning.VAEFeatureExtractor : For spectra without gaps.

    References
    ----------
    .. [1] R. Everson and L. Sirovich, "Karhunen-Loeve procedure for gappy data", 1995,
       https://doi.org/10.1364/JOSAA.12.001657

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.learning import GappySpectrumExtractor, Trainer
    >>> centre = np.linspace(-1, 1, 200)[:, None]
    >>> X = np.exp(-4 * (np.linspace(-2, 2, 60) - centre) ** 2)  # moving peaks
    >>> extractor = GappySpectrumExtractor(
    ...     2, trainer=Trainer(max_epochs=60), random_state=0
    ... ).fit(X)
    >>> seen = X.copy()
    >>> seen[:, ::2] = np.nan
    >>> extractor.transform(seen).shape
    (200, 2)
    """

    _training_defaults = {
        **SpectrumExtractor._training_defaults,
        "max_epochs": 300,
        "lr": 0.005,
        "batch_size": 64,
    }

    _parameter_constraints = {
        "n_components": [at_least(1)],
        "compression": [at_least(1)],
        "background": ["array-like", None],
        "floor": [positive()],
        "hidden_size": [at_least(1)],
        "kl_weight": [Interval(numbers.Real, 0, 1, closed="both")],
        "noise": [at_least(0, numbers.Real)],
        "weighting": [Interval(numbers.Real, 0, 1, closed="both")],
        "n_starts": [at_least(1)],
        "output": [StrOptions({"mean", "distribution"})],
        **TRAINING,
    }

    def __init__(
        self,
        n_components=24,
        *,
        compression=192,
        background=None,
        floor=0.1,
        hidden_size=400,
        kl_weight=1e-3,
        noise=0.1,
        weighting=0.3,
        n_starts=3,
        output="mean",
        trainer=None,
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.compression = compression
        self.background = background
        self.floor = floor
        self.hidden_size = hidden_size
        self.kl_weight = kl_weight
        self.noise = noise
        self.weighting = weighting
        self.n_starts = n_starts
        self.output = output
        self.trainer = trainer
        self.random_state = random_state
        self.verbose = verbose

    def transform(self, X):
        """Return the codes of spectra.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra on any scales, NaN where nothing was measured.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            The most probable codes, float32. With ``output="distribution"`` the
            standard deviations follow: ``(n_samples, 2 * n_components)``.

        Raises
        ------
        ValueError
            If the number of features is another, a spectrum is empty, or a voxel was
            measured that no training spectrum had.
        """
        mean, std = self._encode(X)
        return mean if self.output == "mean" else np.hstack([mean, std])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.positive_only = True
        return tags

    def _loss(self):
        return VariationalLoss(self.kl_weight, "mean")

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
        scale = np.where(spread > 0, spread, 1.0) ** -self.weighting
        size = np.sqrt(np.mean(np.square(scale * spread)))
        self.input_scale_ = np.float32(scale / (size if size > 0 else 1.0))
        self.n_components_ = int(self.n_components)
        module = Autoencoder(
            (self.n_compressed_, self.hidden_size, self.n_components_),
            variational=True,
            bounded=False,
            image=None,
            generator=generator,
            residual=True,
        )
        net = self._new_net(module, generator, self.n_components_)
        return net, X, np.float32(coefficients * self.input_scale_)

    def _prepare(self, X):
        return X, np.float32(self._infer(X)[2] * self.input_scale_)

    def _jitter(self):
        if self.noise == 0:
            return None
        return self.noise * self.input_scale_ * np.sqrt(self.variance_.mean())

    def _fit_basis(self, X, random_state):
        """Learn mean, weights and components; return the coefficients of X."""
        background = self._background_rows()
        basis = learn_basis(X, self.compression, self.floor, True, random_state)
        self.weights_, self.least_noise_ = basis.weights, basis.left
        self.variance_ = np.square(basis.spread)
        self.n_compressed_ = len(basis.spread)
        mean, *background = np.vstack([basis.mean, background]) * basis.weights
        self.basis_ = np.column_stack([mean, basis.components, *background])
        self._square = square(self.basis_)
        return basis.coefficients

    def _background_rows(self):
        n_features = len(self.seen_)
        if self.background is None:
            return np.ones((1, int(self.seen_.sum())), dtype=np.float32)
        rows = check_array(self.background, dtype=np.float32, input_name="background")
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
                    self.n_starts,
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
