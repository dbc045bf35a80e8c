"""Features of spectra: the latent codes of autoencoders, and spectra from codes.

Spectra come in without NaN and at a scale of about 1, as
:class:`~skphonon.preprocessing.MaskedSpectrumPreprocessor` gives them. Codes and
reconstructed spectra are float32.
"""

import numbers

import numpy as np
from sklearn.utils.metaestimators import available_if

from skphonon._validation import Interval, StrOptions
from skphonon.learning._autoencoder import AUTO, AUTOMATIC, SpectrumAutoencoder
from skphonon.learning._extractor import amortized
from skphonon.learning._networks import ReconstructionLoss, VariationalLoss, divergences
from skphonon.learning.missing_data import (
    PosteriorCodes,
    PosteriorInference,
    as_inference,
)
from skphonon.learning.novelty import OutOfDistributionWarning
from skphonon.learning.trainer import settled

__all__ = ["AEFeatureExtractor", "OutOfDistributionWarning", "VAEFeatureExtractor"]


_AMORTIZED = {"kl_weight": 1e-6, **AUTOMATIC}
_POSTERIOR = {"kl_weight": 1e-3, "noise": 0.1, "compression": 192, "weighting": 0.3}
_EPOCHS = 300  # with inference="posterior"


def of_mean(kl_weight, batch_size):
    """Return the weight of a mean divergence that does what one of a sum does."""
    return kl_weight * batch_size / (1 - kl_weight + kl_weight * batch_size)


class VAEFeatureExtractor(SpectrumAutoencoder, PosteriorCodes):
    """Compress spectra to the codes of a variational autoencoder.

    The encoder gives a mean and a standard deviation for every dimension of the code;
    the decoder turns a code drawn from that normal distribution back into a spectrum.
    Hidden units are tanh. Training minimises [2]_

    ``(1 - w) * MSE + w * KL``

    with ``w = kl_weight``: the mean square error over samples and features, and the
    Kullback-Leibler divergence of the code from the standard normal distribution,
    summed over the dimensions of the code and averaged over samples. The spectra
    must be on a common scale of about 1.

    In training, white noise is added to the spectra that the encoder sees, but not to
    those that the decoder must return. Its standard deviation is drawn for each
    spectrum, evenly on a logarithmic scale up to `noise`. The code then follows what
    training spectra have in common, and a measured spectrum, with its own noise and
    background, gets a code close to theirs.

    By default the network does not see pixels but the first principal components of
    the training spectra, scaled by `weighting`: a fixed linear map, learnt in `fit` and
    undone after the decoder. MSE is then that of the scaled components. Training is
    about fifty times faster, and the code keeps constants that change a spectrum
    little, which an error counted in pixels neglects. The networks of the paper [1]_
    have neither; :func:`~skphonon.learning.su_li_2024` builds them.

    The standard deviation of a code from `encode` (and from `transform` with
    ``output="distribution"``) combines two parts in quadrature: that of the encoder,
    and the effect of the misfit of the spectrum on the code. The part of the spectrum
    that the decoder cannot return is treated as white noise: the root mean square
    change of the mean code is taken over 32 copies of the spectrum with as much noise
    added. For simulated spectra this part is small. For measured ones, which no code
    describes fully, it is the larger part.

    Parameters
    ----------
    n_components : int, default=30
        Dimensions of the code.
    network : Dense, Convolutional, "dense" or "convolutional", default="dense"
        Dense layers on the features, or convolutions on the image whose measured pixels
        are the features, with their settings: :class:`~skphonon.learning.Dense`,
        :class:`~skphonon.learning.Convolutional`. Names stand for their defaults.
    inference : PosteriorInference or str, default="amortized"
        "amortized": codes come from the encoder, of complete spectra. "posterior", or
        its settings: codes are those whose decoded spectra fit what was measured best,
        with NaN where nothing was, any scale and a background;
        :class:`~skphonon.learning.PosteriorInference` describes how.
    kl_weight : float or "auto", default="auto"
        Weight of the Kullback-Leibler divergence, from 0 (no regularisation) to 1,
        averaged over the samples of a batch. "auto": 1e-6, and 1e-3 with
        ``inference="posterior"``.
    noise : float or "auto", default="auto"
        Largest standard deviation, in the unit of X, of the white noise added to
        training spectra. 0: none. With ``inference="posterior"`` it is added to
        coefficients, in units of their root mean square. "auto": 0.3, and 0.1 there.
    compression : int, "auto" or None, default="auto"
        Principal components between pixels and network. Those with a spread below 1e-4
        of the first are left out (see `n_compressed_`). None: pixels. "auto": 64 for
        dense layers, None for convolutions, which need pixels, and 192 with
        ``inference="posterior"``, where the time of `transform` grows with its square.
    weighting : float, "auto" or None, default="auto"
        Weight of components (or pixels) that vary little over the training set: each is
        divided by its standard deviation to this power (0: unchanged, 1: all equal),
        and all by one number that makes the mean square 1. None: no scaling at all, and
        pixels are not centred. "auto": 0.5, and 0.3 with ``inference="posterior"``.
    output : {"mean", "posterior", "distribution"}, default="mean"
        Columns of `transform`: mean codes, or means followed by standard deviations,
        from which :class:`~skphonon.learning.ForceConstantRegressor` with
        ``latent="distribution"`` draws codes; "posterior" takes those of the encoder
        alone, "distribution" those of `encode`. Needs no new `fit`. Both are the same
        with ``inference="posterior"``.
    warn_below : float or None, default=0.001
        Probability of a false alarm: `transform` warns of spectra unlike the training
        set (:class:`OutOfDistributionWarning`) if `score_samples`, corrected for the
        number of spectra in the call, is below. None: never, as with
        ``inference="posterior"``, and as with less than 100 spectra held out, which
        allow no such probability.
    trainer : Trainer or None, default=None
        Settings of training. Its defaults here: at most 100 epochs at a learning rate
        of 0.005 along a cosine, batches of 64, "clipped-adam", a tenth of the samples
        held out, no early stop; in `partial_fit` 10 epochs at 1e-4. With
        ``inference="posterior"`` 300 epochs; the error of the decoder is judged by the
        samples held out (with none it is too small). After many epochs
        of `partial_fit` the code also follows noise and background of the few new
        spectra, and their standard deviations become too small.
    random_state : int, RandomState instance or None, default=None
        Determines first weights, sampled codes, batches and held-out samples.
        An int makes results reproducible.
    verbose : int, default=0
        Show a progress bar during training if positive.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained network.
    mean_ : ndarray of shape (`n_features_in_`,) or None
        Mean training spectrum, where spectra are centred. It and what follows up to
        `input_scale_`, and `reference_`, only with ``inference="amortized"``.
    components_ : ndarray of shape (`n_compressed_`, `n_features_in_`) or None
        Principal components of the training spectra, orthonormal.
    input_scale_ : ndarray of shape (`n_compressed_`,) or None
        Factors that bring components or pixels to the scale of the network.
    n_components_ : int
        Dimensions of the code.
    n_compressed_ : int
        Inputs of the network: principal components, or `n_features_in_`.
    n_columns_ : int
        Features behind the pixels of the image; 0 for dense layers, to
        which all features are alike.
    history_ : DataFrame
        Epoch, learning rate and losses of every epoch of `fit` and `partial_fit`.
        The held-out loss is at the mean code, the training loss at sampled codes.
    reference_ : ndarray of shape (n_reference, 2)
        Misfits and distances (see `novelty`) of the spectra that `fit` held out, at
        most 2000. If nothing was held out they are those of training spectra, which are
        smaller: p-values are then too small.
    reference_codes_ : ndarray of shape (n_reference, `n_components_`)
        Mean codes of these spectra.
    allowance_ : ndarray of shape (2,)
        Misfit and distance that count as usual in addition, since `partial_fit`.
    code_mean_ : ndarray of shape (`n_components_`,)
        Mean of the mean codes of training spectra.
    code_whitening_ : ndarray of shape (`n_components_`, `n_components_`)
        Map from offsets from this mean to vectors whose length is the `distance`.
    seen_, weights_, basis_, variance_, error_variance_, least_noise_
        Only with ``inference="posterior"``: which voxels a training spectrum had; their
        weights, which make noise equal; weighted mean spectrum, components and
        background, as columns; mean squares of coefficients, and mean square errors of
        decoded ones; variance that components leave of training spectra.
    code_precision_, candidates_ : ndarray
        Only with ``inference="posterior"``: inverse covariance of training codes, and
        such codes, at most 1000.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all are strings.

    See Also
    --------
    AEFeatureExtractor : The same without distributions.
    PosteriorInference : Codes of spectra with missing data.

    References
    ----------
    .. [1] Y. Su and C. Li, "Uncovering obscured phonon dynamics from powder
       inelastic neutron scattering using machine learning", 2024,
       https://doi.org/10.48550/arXiv.2404.13507
    .. [2] D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", 2013,
       https://doi.org/10.48550/arXiv.1312.6114

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.learning import Trainer, VAEFeatureExtractor
    >>> centre = np.linspace(-1, 1, 200)[:, None]
    >>> X = np.exp(-4 * (np.linspace(-2, 2, 30) - centre) ** 2)  # moving peaks
    >>> extractor = VAEFeatureExtractor(
    ...     3, noise=0.05, trainer=Trainer(batch_size=16), random_state=0
    ... )
    >>> extractor.fit_transform(X).shape
    (200, 3)
    >>> extractor.score(X) > 0.98
    True
    """

    _variational = True
    _shortcuts = {
        **SpectrumAutoencoder._shortcuts,
        "inference": as_inference,
    }
    _moved_parameters = {
        **SpectrumAutoencoder._moved_parameters,
        "kl_reduction": "leave it out for a mean; of a sum over B samples give "
        "kl_weight=w * B / (1 - w + w * B)",
    }

    _parameter_constraints = {
        **SpectrumAutoencoder._parameter_constraints,
        "inference": [StrOptions({"amortized", "posterior"}), PosteriorInference],
        "kl_weight": [Interval(numbers.Real, 0, 1, closed="both"), AUTO],
        "output": [StrOptions({"mean", "posterior", "distribution"})],
    }

    def __init__(
        self,
        n_components=30,
        *,
        network="dense",
        inference="amortized",
        kl_weight="auto",
        noise="auto",
        compression="auto",
        weighting="auto",
        output="mean",
        warn_below=1e-3,
        trainer=None,
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.network = network
        self.inference = inference
        self.kl_weight = kl_weight
        self.noise = noise
        self.compression = compression
        self.weighting = weighting
        self.output = output
        self.warn_below = warn_below
        self.trainer = trainer
        self.random_state = random_state
        self.verbose = verbose

    @available_if(amortized)
    def kl_divergence(self, X):
        """Return the divergence of the distribution of each code from the prior.

        It is zero for a dimension that the decoder does not use: its distribution is
        the standard normal one for every spectrum.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, prepared like those of `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            Kullback-Leibler divergence in nats, float32: ``(mean**2 + variance -
            log(variance) - 1) / 2`` of the encoder's own mean and variance.
        """
        inputs = self._network_inputs(X)
        return self._apply(
            lambda network, part: (divergences(*network.encode(part)),), inputs
        )[0]

    def _codes(self, inputs):
        if self.output != "posterior":
            return super()._codes(inputs)
        mean, log_variance = self._apply(
            lambda network, part: network.encode(part), inputs
        )
        return np.hstack([mean, np.exp(log_variance / 2)])

    def _loss(self):
        return VariationalLoss(self._value("kl_weight"))

    def _automatic(self):
        return _POSTERIOR if self._is_posterior() else _AMORTIZED

    def _trainer_defaults(self):
        longer = {"max_epochs": _EPOCHS} if self._is_posterior() else {}
        return self._training_defaults | longer

    def _update(self, state):
        super()._update(state)
        state.setdefault("inference", "amortized")
        if state.pop("kl_reduction", "mean") == "sum":
            size = settled(state["trainer"], self._training_defaults).batch_size
            state["kl_weight"] = of_mean(state["kl_weight"], size)

    def _is_posterior(self):
        return self.inference != "amortized"

    # what depends on the kind of inference

    def _kind(self):
        return PosteriorCodes if self._is_posterior() else SpectrumAutoencoder

    def transform(self, X):
        """Return the codes of spectra.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, prepared like those of `fit`; with ``inference="posterior"`` on any
            scales, NaN where nothing was measured.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            Mean, or most probable, codes, float32. Unless ``output="mean"`` the
            standard deviations follow: ``(n_samples, 2 * n_components)``.

        Raises
        ------
        ValueError
            If the number of features is another, or, with ``inference="posterior"``, a
            spectrum is empty or has a voxel that no training spectrum had.

        Warns
        -----
        OutOfDistributionWarning
            If spectra are unlike those of the training set (see `score_samples`),
            decided for all spectra of the call together by the false discovery rate
            [1]_ with level `warn_below`; with ``inference="amortized"``.

        References
        ----------
        .. [1] Y. Benjamini and Y. Hochberg,
           https://doi.org/10.1111/j.2517-6161.1995.tb02031.x
        """
        return self._transformed(X) if self._is_posterior() else super().transform(X)

    def _transformed(self, X):
        return self._kind()._transformed(self, X)

    def _set_up(self, X):
        return self._kind()._set_up(self, X)

    def _prepare(self, X):
        return self._kind()._prepare(self, X)

    def _conclude(self, X, inputs, held_out=(), earlier=None):
        self._kind()._conclude(self, X, inputs, held_out, earlier)

    def _remember(self):
        return self._kind()._remember(self)

    def _validate(self, X, reset=False):
        return self._kind()._validate(self, X, reset)

    def _jitter(self):
        return self._kind()._jitter(self)

    def _encode(self, X):
        return self._kind()._encode(self, X)

    def _decode(self, codes):
        return self._kind()._decode(self, codes)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.positive_only = self._is_posterior()
        return tags


class AEFeatureExtractor(SpectrumAutoencoder):
    """Compress spectra to the codes of a deterministic autoencoder.

    Encoder, decoder, noise, principal components and weights are those of
    :class:`VAEFeatureExtractor`, which describes all parameters at length. But each
    spectrum has one code, not a distribution, and training minimises the mean square
    error alone. The codes of similar spectra may then lie far apart, and a measured
    spectrum may get a code that no simulated one has.

    The standard deviation of a code from `encode` is the effect of the misfit of the
    spectrum on the code.

    Parameters
    ----------
    n_components : int, default=30
        Dimensions of the code.
    network : Dense, Convolutional, "dense" or "convolutional", default="dense"
        Dense layers, or convolutions, with their settings. ``bounded`` bounds codes
        too.
    noise : float or "auto", default="auto"
        Largest standard deviation of white noise added in training. "auto": 0.3.
    compression : int, "auto" or None, default="auto"
        Principal components between pixels and network; None: pixels.
    weighting : float, "auto" or None, default="auto"
        Power of the standard deviation that each component is divided by. "auto": 0.5.
    output : {"mean", "distribution"}, default="mean"
        Columns of `transform`: codes, or codes followed by standard deviations.
    warn_below : float or None, default=0.001
        Probability of a false alarm in warnings of `transform`; None: no warnings.
    trainer : Trainer or None, default=None
        Settings of training; defaults as in VAEFeatureExtractor.
    random_state : int, RandomState instance or None, default=None
        Seed of first weights, noise, batches and held-out samples.
    verbose : int, default=0
        Show a progress bar during training if positive.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained network.
    mean_, components_, input_scale_ : ndarray or None
        Linear map to the inputs of the network, as in VAEFeatureExtractor.
    n_components_, n_compressed_, n_columns_ : int
        Dimensions of the code, inputs of the network, and features behind the pixels of
        an image.
    history_ : DataFrame
        Epoch, learning rate and losses of every epoch of `fit` and `partial_fit`.
    reference_, reference_codes_, allowance_, code_mean_, code_whitening_ : ndarray
        Reference for `novelty`, as in VAEFeatureExtractor.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all are strings.

    See Also
    --------
    VAEFeatureExtractor : The variational one.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.learning import AEFeatureExtractor, Trainer
    >>> centre = np.linspace(-1, 1, 200)[:, None]
    >>> X = np.exp(-4 * (np.linspace(-2, 2, 30) - centre) ** 2)  # moving peaks
    >>> extractor = AEFeatureExtractor(
    ...     3, noise=0.05, trainer=Trainer(batch_size=16), random_state=0
    ... )
    >>> extractor.fit_transform(X).shape
    (200, 3)
    >>> extractor.score(X) > 0.98
    True
    """

    def __init__(
        self,
        n_components=30,
        *,
        network="dense",
        noise="auto",
        compression="auto",
        weighting="auto",
        output="mean",
        warn_below=1e-3,
        trainer=None,
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.network = network
        self.noise = noise
        self.compression = compression
        self.weighting = weighting
        self.output = output
        self.warn_below = warn_below
        self.trainer = trainer
        self.random_state = random_state
        self.verbose = verbose

    def _loss(self):
        return ReconstructionLoss()
