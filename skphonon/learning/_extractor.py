"""Transformers from spectra to the codes of an autoencoder: what all of them share."""

from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from skphonon._validation import fit_context
from skphonon.learning._network_estimator import NetworkEstimator, raise_if
from skphonon.learning._networks import Autoencoder

__all__ = ["SpectrumExtractor", "amortized"]


def amortized(extractor):
    """Tell whether codes come from an encoder, or raise an AttributeError."""
    if extractor._is_posterior():
        raise AttributeError(
            f"{type(extractor).__name__} has it with inference='amortized' alone."
        )
    return True


class SpectrumExtractor(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, NetworkEstimator
):
    """Base of transformers whose network is an autoencoder.

    Subclasses set up a new net (`_set_up`) or prepare more spectra for the present one
    (`_prepare`), learn what they need beside the network (`_conclude`), and take
    spectra to codes and back (`_encode`, `_decode`).
    """

    _network = Autoencoder
    input_scale_: Any

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Train a new network on spectra.

        Ctrl-C after the first epoch leaves an estimator with the best weights so far.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, as the class wants them: finite and on a common scale of about 1,
            or for missing data not negative, on any scales, NaN where nothing was seen.
        y : None
            Ignored.

        Returns
        -------
        self : estimator
            This estimator.

        Raises
        ------
        ValueError
            If the spectra are not of this kind, a parameter does not fit them, training
            diverges, or torch cannot use the device.
        """
        net, X, inputs = self._set_up(X)
        generator = net.iterator_train__generator
        held_out = self._hold_out(len(inputs), generator)
        stopped = self._train(net, inputs, inputs, held_out)
        self.net_ = net
        self._conclude(X, inputs, held_out)
        raise_if(stopped)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Continue the training on more spectra, or measured ones (fine-tuning).

        All spectra given are trained on, for `fine_tune_epochs` at
        `fine_tune_lr` of the trainer; the principal components stay as they are. On an
        unfitted estimator the network is first set up as `fit` does it. Interrupted, it
        leaves the network as it was before.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, prepared like those of `fit`.
        y : None
            Ignored.

        Returns
        -------
        self : estimator
            This estimator.

        Raises
        ------
        ValueError
            As from `fit`.
        """
        if self.__sklearn_is_fitted__():
            net, earlier = self.net_, self._remember()
            X, inputs = self._prepare(X)
        else:
            net, X, inputs = self._set_up(X)
            earlier = None
        self._fine_tune(net, inputs, inputs)
        self._conclude(X, inputs, earlier=earlier)
        return self

    def encode(self, X):
        """Return means and standard deviations of codes, whatever `output` is.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, as for `transform`.

        Returns
        -------
        mean, std : ndarray of shape (n_samples, n_components)
            Normal distribution of each code, float32.
        """
        return self._encode(X)

    def inverse_transform(self, X):
        """Return the spectra that belong to codes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Codes, or codes and standard deviations as from `transform`, of which the
            former are taken.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Spectra, float32, on the scale of those of `fit`. For missing data they are
            complete, without background and on the scale of a mean of 1, with NaN where
            no training spectrum had a value.

        Raises
        ------
        ValueError
            If the number of columns fits neither.
        """
        check_is_fitted(self)
        codes = check_array(X, dtype=np.float32)
        n_codes = self.n_components_
        if codes.shape[1] not in (n_codes, 2 * n_codes):
            raise ValueError(
                f"Codes must have {n_codes} columns, or {2 * n_codes} for means and "
                f"standard deviations, as transform gives them; got {codes.shape[1]}."
            )
        return self._decode(codes[:, :n_codes])

    def _is_posterior(self):
        """Tell whether codes are sought, not those of the encoder."""
        return False

    @property
    def _n_features_out(self):
        return self.n_components_ * (1 if self.output == "mean" else 2)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _remember(self):
        """Return what is needed, after more training, of the time before it."""
        return ()
