"""Autoencoders of complete spectra, deterministic or variational: all but the loss.

Spectra come in without NaN and at a scale of about 1. A fixed linear map, learnt in
`fit`, takes them to the inputs of the network and its outputs back.
"""

import numbers
from copy import deepcopy

import numpy as np
import torch
from sklearn.utils.extmath import randomized_svd
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skphonon._validation import (
    Interval,
    StrOptions,
    at_least,
    validate_spectra,
)
from skphonon.learning._extractor import SpectrumExtractor, amortized
from skphonon.learning._network_estimator import TRAINING
from skphonon.learning._networks import Autoencoder
from skphonon.learning._training import new_generator
from skphonon.learning.architectures import (
    MOVED,
    Convolutional,
    Dense,
    as_network,
    image_of,
    network_of,
)
from skphonon.learning.novelty import NoveltyMixin

__all__ = ["AUTO", "AUTOMATIC", "SpectrumAutoencoder"]

_SMALLEST_SPREAD = 1e-4  # of the first component; rounding errors are below
_N_DISPLACED = 32  # copies of a spectrum, which give a spread to 12 %
_ROWS_AT_ONCE = 2048  # bounds the memory of convolutions
AUTO = StrOptions({"auto"})
AUTOMATIC = {"noise": 0.3, "compression": 64, "weighting": 0.5}  # what "auto" means
_NO_GAPS = (
    "Put MaskedSpectrumPreprocessor in front, in a Pipeline: it drops the pixels that "
    "were not measured. Where these differ from spectrum to spectrum, use "
    'VAEFeatureExtractor(inference="posterior"), which takes NaN for what was not '
    "measured."
)


class SpectrumAutoencoder(NoveltyMixin, SpectrumExtractor):
    """Base of autoencoders of complete spectra.

    Subclasses say whether codes are distributions (`_variational`) and give the loss.
    """

    _variational = False
    _shortcuts = {**SpectrumExtractor._shortcuts, "network": as_network}
    _moved_parameters = {**SpectrumExtractor._moved_parameters, **MOVED}
    _training_defaults = {
        **SpectrumExtractor._training_defaults,
        "max_epochs": 100,
        "lr": 0.005,
        "batch_size": 64,
    }

    _parameter_constraints = {
        "n_components": [at_least(1)],
        "network": [StrOptions({"dense", "convolutional"}), Dense, Convolutional],
        "noise": [at_least(0, numbers.Real), AUTO],
        "compression": [at_least(1), AUTO, None],
        "weighting": [Interval(numbers.Real, 0, 1, closed="both"), AUTO, None],
        "output": [StrOptions({"mean", "distribution"})],
        **TRAINING,
        "warn_below": [Interval(numbers.Real, 0, 1, closed="both"), None],
    }

    def _update(self, state):
        if "network" not in state:
            state["network"] = network_of(state)

    def transform(self, X):
        """Return the codes of spectra.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, prepared like those of `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            Mean codes, float32. Unless ``output="mean"`` the standard deviations
            follow: ``(n_samples, 2 * n_components)``.

        Warns
        -----
        OutOfDistributionWarning
            If spectra are unlike those of the training set (see `score_samples`),
            decided for all spectra of the call together by the false discovery rate
            [1]_ with level `warn_below`.

        References
        ----------
        .. [1] Y. Benjamini and Y. Hochberg,
           https://doi.org/10.1111/j.2517-6161.1995.tb02031.x
        """
        X = self._spectra(X)
        codes = self._codes(self._compress(X))
        self._warn_of_foreign(X, codes[:, : self.n_components_])
        return codes

    def fit_transform(self, X, y=None):
        """Train a new network on spectra and return their codes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, finite and on a common scale of about 1.
        y : None
            Ignored.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            As from `transform`, but without warnings.
        """
        return self.fit(X)._transformed(X)

    def _transformed(self, X):
        """Return the columns of `transform`, without warnings."""
        return self._codes(self._network_inputs(X))

    @available_if(amortized)
    def score(self, X, y=None):
        """Return the quality of reconstructed spectra: one minus the mean NMSE.

        The normalised mean square error of a spectrum is ``mean((x - x')**2) /
        mean(x**2)``, with x' decoded from the mean code of x.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, prepared like those of `fit`; none of them zero throughout.
        y : None
            Ignored.

        Returns
        -------
        float
            1 for perfect reconstruction, 0 for spectra of zeros.
        """
        X = self._spectra(X)
        again = self._decode(self._encoded(X))
        error = np.square(X - again).mean(axis=1)
        return float(1 - np.mean(error / np.square(X).mean(axis=1)))

    def _codes(self, inputs):
        """Return the columns of `transform` for inputs of the network."""
        if self.output == "distribution":
            return np.hstack(self._distributions(inputs))
        return self._mean_codes(inputs)

    def _encoded(self, X):
        return self._mean_codes(self._compress(X))

    def _mean_codes(self, inputs):
        return self._apply(lambda network, part: network.encode(part)[:1], inputs)[0]

    def _encode(self, X):
        return self._distributions(self._network_inputs(X))

    def _distributions(self, inputs):
        scale = torch.as_tensor(self._input_scale(), device=self.net_.device).double()
        # the same noise for every spectrum: none depends on its neighbours
        generator = torch.Generator().manual_seed(self._noise_seed)
        noise = torch.randn((_N_DISPLACED, len(scale)), generator=generator)
        noise = noise.to(scale) * scale

        def distribution(network, inputs):
            reconstruction, mean, log_variance = network(inputs)
            misfit = ((inputs - reconstruction) / scale).square().mean(1, keepdim=True)
            variance = torch.zeros_like(mean)
            if log_variance is not None:
                variance += log_variance.exp()
            for row in noise:
                displaced, _ = network.encode(inputs + misfit.sqrt() * row)
                variance += (displaced - mean).square() / _N_DISPLACED
            return mean, variance.sqrt()

        return self._apply(distribution, inputs)

    def _decode(self, codes):
        images = self._apply(lambda network, part: (network.decoder(part),), codes)[0]
        return self._expand(images)

    def _apply(self, function, rows):
        """Return the arrays that `function` makes of network and tensors."""
        # in double precision, rounded at the end: else the last digits of a spectrum
        # would depend on its neighbours, and on the number of threads
        rows = torch.as_tensor(rows, device=self.net_.device)
        with torch.inference_mode():
            network = deepcopy(self.net_.module_).double()
            parts = [
                function(network, part.double()) for part in rows.split(_ROWS_AT_ONCE)
            ]
        return tuple(
            torch.cat(p).float().cpu().numpy() for p in zip(*parts, strict=True)
        )

    def _network_inputs(self, X):
        return self._compress(self._spectra(X))

    def _spectra(self, X):
        check_is_fitted(self)
        return self._validate(X)

    def _validate(self, X, reset=False):
        # one spectrum spans neither components nor codes
        n_min = 2 if reset else 1
        return validate_spectra(
            self,
            X,
            dtype=np.float32,
            reset=reset,
            ensure_min_samples=n_min,
            remedy=_NO_GAPS,
        )

    def _set_up(self, X):
        """Forget the past; return a new net, the spectra and its inputs."""
        random_state = self._forget()
        X = self._validate(X, reset=True)
        generator = new_generator(random_state)
        self._noise_seed = int(random_state.randint(2**31))
        self._fit_inputs(X, random_state)
        self.n_components_ = int(self.n_components)
        network, image = self._part("network"), None
        if isinstance(network, Convolutional):
            image = image_of(network, X.shape[1])
        self.n_columns_ = 0 if image is None else image["n_columns"]
        module = Autoencoder(
            (self.n_compressed_, int(network.hidden_size), self.n_components_),
            self._variational,
            network.bounded,
            image,
            generator,
            residual=image is None and bool(network.residual),
        )
        noise_size = self.n_components_ if self._variational else 0
        return self._new_net(module, generator, noise_size), X, self._compress(X)

    def _prepare(self, X):
        X = self._validate(X)
        return X, self._compress(X)

    def _conclude(self, X, inputs, held_out=(), earlier=None):
        if earlier is None:
            self._learn_reference(X, held_out)
        else:
            self._update_reference(X, earlier)

    def _fit_inputs(self, X, random_state):
        """Learn the linear map from spectra to inputs of the network."""
        self.mean_ = self.components_ = self.input_scale_ = None
        self.n_compressed_ = X.shape[1]
        n_kept = self._n_kept(X)
        if self._value("weighting") is None and n_kept is None:
            return
        self.mean_ = X.mean(axis=0)
        if n_kept is None:
            spread = X.std(axis=0)
        else:
            spread = self._fit_components(X, n_kept, random_state)
        # rounding errors are not magnified
        spread = np.maximum(spread, _SMALLEST_SPREAD * spread.max())
        spread = np.where(spread > 0, spread, 1.0)
        scale = spread ** -(self._value("weighting") or 0.0)
        if self._value("weighting") is not None:
            scale /= np.sqrt(np.mean(np.square(scale * spread)))
        self.input_scale_ = np.float32(scale)

    def _n_kept(self, X):
        """Return how many components to keep, None for pixels."""
        conv = isinstance(self._part("network"), Convolutional)
        wanted = self._value("compression")
        if wanted is None or (conv and self.compression == "auto"):
            return None
        if conv:
            raise ValueError(
                "Convolutions need pixels and have no use for principal components, "
                f"got compression={self.compression!r}. Use 'auto' or None."
            )
        return min(wanted, *X.shape)

    def _fit_components(self, X, n_kept, random_state):
        """Keep principal components; return their standard deviations."""
        _, singular_values, components = randomized_svd(
            X - self.mean_,
            n_kept,
            power_iteration_normalizer="QR",
            random_state=random_state,
        )
        spread = singular_values / np.sqrt(len(X))
        n_real = int(np.sum(spread > spread[0] * _SMALLEST_SPREAD))
        self.n_compressed_ = max(n_real, 1)
        self.components_ = np.ascontiguousarray(components[: self.n_compressed_])
        return spread[: self.n_compressed_]

    def _jitter(self):
        noise = self._value("noise")
        return noise * self._input_scale() if noise else None

    def _value(self, name):
        """Return the value of a parameter, that of "auto" if it is that."""
        given = getattr(self, name)
        return self._automatic()[name] if isinstance(given, str) else given

    def _automatic(self):
        """Return what "auto" means, by name of the parameter."""
        return AUTOMATIC

    def _input_scale(self):
        """Return the spread at the network of white noise of unit spread in X."""
        # white noise stays white in an orthonormal basis
        if self.input_scale_ is None:
            return np.ones(self.n_compressed_, dtype=np.float32)
        return self.input_scale_

    def _compress(self, X):
        if self.mean_ is None:
            return X
        inputs = np.empty((len(X), self.n_compressed_), dtype=np.float32)
        mean = self.mean_.astype(float)
        basis = None if self.components_ is None else self.components_.T.astype(float)
        for start in range(0, len(X), _ROWS_AT_ONCE):  # exact, as `_apply`
            rows = slice(start, start + _ROWS_AT_ONCE)
            displaced = X[rows] - mean
            if basis is not None:
                displaced = displaced @ basis
            inputs[rows] = displaced * self.input_scale_
        return inputs

    def _expand(self, inputs):
        if self.mean_ is None:
            return inputs
        X = inputs / self.input_scale_
        if self.components_ is not None:
            X = X @ self.components_
        return X + self.mean_
