"""Few features from many pixels: spectra to latent codes and back.

Spectra come in without NaN and at a scale of about 1, as
:class:`~skphonon.preprocessing.MaskedSpectrumPreprocessor` gives them. Codes and
reconstructed spectra are float32.
"""

import numbers

import numpy as np

from skphonon._validation import Interval, StrOptions
from skphonon.learning._autoencoder import SpectrumAutoencoder
from skphonon.learning._networks import ReconstructionLoss, VariationalLoss, divergences
from skphonon.learning.novelty import OutOfDistributionWarning

__all__ = ["AEFeatureExtractor", "OutOfDistributionWarning", "VAEFeatureExtractor"]


class VAEFeatureExtractor(SpectrumAutoencoder):
    """Compress spectra to the codes of a variational autoencoder.

    The encoder (spectrum - hidden layers - code) gives a mean and a standard
    deviation for every dimension of the code; the decoder (code - hidden layers -
    spectrum) turns a code drawn from that normal distribution back into a spectrum.
    Hidden units are tanh. Training minimises

    ``(1 - w) * MSE + w * KL``

    with ``w = kl_weight``: the mean square error over samples and features, and the
    Kullback-Leibler divergence of the code from the standard normal distribution,
    summed over the dimensions of the code and averaged over samples. The spectra
    must be on a common scale of about 1.

    White noise is added anew to the spectra that the encoder sees in training, but
    not to those that the decoder is to return; its standard deviation is drawn for
    each spectrum, evenly on a logarithmic scale up to `noise`. So trained the code
    follows what the training spectra have in common, and a measured spectrum, which
    has noise and background besides, is given a code close to theirs.

    By default the network does not see pixels but the first principal components of
    the training spectra, scaled as `weighting` says: a fixed linear map, learnt in
    `fit`, undone after the decoder. MSE is then that of the scaled components.
    Training is some fifty times faster, and constants that change a spectrum little
    stay in the code, where an error counted in pixels forgets them. The networks of
    the paper [1]_ have neither; :func:`~skphonon.learning.su_li_2024` gives them.

    The standard deviation of a code from `encode` (and from `transform` with
    ``output="distribution"``) has two parts, in quadrature: the encoder's own, and
    what the misfit of the spectrum does to the code. What the decoder cannot return
    is taken for white noise, and the root mean square change of the mean code is
    taken over 32 copies of the spectrum with as much noise added. It hardly matters
    for simulated spectra, and for measured ones, which no code describes, it is the
    greater part.

    Parameters
    ----------
    n_components : int, default=30
        Dimensions of the code.
    architecture : {"dense", "conv"}, default="dense"
        Layers of the network: dense ones on the features, or convolutions on the image
        that the features are the measured pixels of. The latter cost some hundred times
        as much.
    grid : SpectrumGrid or None, default=None
        Grid of the spectra, for ``architecture="conv"``: its visible pixels must be the
        features. None: the features lie along a line.
    hidden_size : int or None, default=None
        Units of the dense hidden layers. None: 400, and 200 for
        ``architecture="conv"``.
    filters : tuple of int, default=(32, 64, 128)
        Filters of each convolution (3 x 3, stride 2) of ``architecture="conv"``, from
        the pixels inwards.
    residual : bool, default=False
        Whether dense layers are a correction to a linear map, both ways, which begins
        as the first `n_components` principal components (or features, without
        `compression`). Not used by convolutions.
    bounded : bool, default=False
        Whether tanh keeps the outputs of the decoder within 1.
    kl_weight : float, default=1e-6
        Weight of the Kullback-Leibler divergence, from 0 (no regularisation) to 1.
    kl_reduction : {"mean", "sum"}, default="mean"
        Whether the divergence is averaged over the samples of a batch or summed.
    noise : float, default=0.3
        Largest standard deviation, in the unit of X, of the white noise added to
        training spectra. 0: none.
    compression : int, "auto" or None, default="auto"
        Principal components between pixels and network. Fewer are used
        (`n_compressed_`) where the training spectra do not have so many of a spread
        above 1e-4 of the first. None: pixels. "auto": 64 for dense layers, None for
        convolutions, which need pixels.
    weighting : float or None, default=0.5
        How much components (or pixels) that vary little over the training set count:
        each is divided by its standard deviation to this power, 0 leaving them as they
        are and 1 making them equal, and all by one number that makes the mean square 1.
        None: not even that, and pixels are not centred.
    output : {"mean", "posterior", "distribution"}, default="mean"
        What `transform` gives: the mean code, or means followed by standard deviations,
        from which :class:`~skphonon.learning.ForceConstantRegressor` with
        ``latent="distribution"`` draws codes; "posterior" has those of the encoder
        alone, "distribution" those of `encode`. Needs no new `fit`.
    optimizer : {"clipped-adam", "adam", "adamw", "sgd"}, default="clipped-adam"
        Rule of the steps. "clipped-adam" is Adam that adapts ten times as fast to
        steeper places and shortens a gradient longer than 1: at high learning rates
        "adam" may leave what it has learnt. "adamw" is Adam with decay of weights.
    learning_rate : float, default=0.005
        Highest learning rate in `fit`.
    momentum : float, default=0.9
        Momentum of ``optimizer="sgd"``; Adam has its own.
    schedule : {"cosine", "constant"}, default="cosine"
        Course of the learning rate in `fit`: a short rise, then half a cosine down
        to zero at `max_epochs`, or no change.
    batch_size : int, default=64
        Samples a step.
    max_epochs : int, default=100
        Passes through the data in `fit`, at most.
    validation_fraction : float or None, default=0.1
        Part of the samples, chosen at random, that `fit` holds out; the weights with
        the lowest loss on them are kept. None: train on all, keep the last.
    patience : int or None, default=None
        `fit` stops after so many epochs in which the held-out loss did not fall, which
        cuts a cosine short. None: never.
    tol : float, default=1e-4
        Relative fall of the held-out loss that counts for `patience`.
    fine_tune_epochs : int, default=10
        Passes through the data in `partial_fit`, which holds nothing out. After many
        the code also follows noise and background of the few spectra it was tuned
        to, and their standard deviations become too small.
    fine_tune_learning_rate : float, default=1e-4
        Learning rate in `partial_fit`, constant.
    warn_below : float or None, default=0.001
        `transform` warns of foreign spectra (:class:`OutOfDistributionWarning`) where
        `score_samples`, corrected for the number of spectra in the call, is below. That
        is the probability of a false alarm. None: never.
    device : str, default="cpu"
        Where torch computes: "cpu", "cuda", or "auto" for a GPU where there is one.
        A pickle made on a GPU loads on the CPU where there is none.
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
        Mean training spectrum, where spectra are centred.
    components_ : ndarray of shape (`n_compressed_`, `n_features_in_`) or None
        Principal components of the training spectra, orthonormal.
    input_scale_ : ndarray of shape (`n_compressed_`,) or None
        Factors that bring components or pixels to the scale of the network.
    n_components_ : int
        Dimensions of the code.
    n_compressed_ : int
        Inputs of the network: principal components, or `n_features_in_`.
    history_ : list of dict
        Epoch, learning rate and losses of every epoch of `fit` and `partial_fit`.
        The held-out loss is at the mean code, the training loss at sampled codes.
    reference_ : ndarray of shape (n_reference, 2)
        Misfits and distances (see `novelty`) of the spectra that `fit` held out, at
        most 2000. Where nothing was held out they are those of training spectra, which
        are smaller: p-values are then too small.
    reference_codes_ : ndarray of shape (n_reference, `n_components_`)
        Mean codes of these spectra.
    allowance_ : ndarray of shape (2,)
        How much more misfit and distance is typical since `partial_fit`.
    code_mean_ : ndarray of shape (`n_components_`,)
        Mean of the mean codes of training spectra.
    code_whitening_ : ndarray of shape (`n_components_`, `n_components_`)
        What turns offsets from it into vectors as long as the `distance`.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, where they are all strings.

    See Also
    --------
    AEFeatureExtractor : The same without distributions.

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
    >>> from skphonon.learning import VAEFeatureExtractor
    >>> centre = np.linspace(-1, 1, 200)[:, None]
    >>> X = np.exp(-4 * (np.linspace(-2, 2, 30) - centre) ** 2)  # moving peaks
    >>> extractor = VAEFeatureExtractor(3, noise=0.05, batch_size=16, random_state=0)
    >>> extractor.fit_transform(X).shape
    (200, 3)
    >>> extractor.score(X) > 0.98
    True
    """

    _variational = True

    _parameter_constraints = {
        **SpectrumAutoencoder._parameter_constraints,
        "kl_weight": [Interval(numbers.Real, 0, 1, closed="both")],
        "kl_reduction": [StrOptions({"mean", "sum"})],
        "output": [StrOptions({"mean", "posterior", "distribution"})],
    }

    def __init__(
        self,
        n_components=30,
        *,
        architecture="dense",
        grid=None,
        hidden_size=None,
        filters=(32, 64, 128),
        residual=False,
        bounded=False,
        kl_weight=1e-6,
        kl_reduction="mean",
        noise=0.3,
        compression="auto",
        weighting=0.5,
        output="mean",
        optimizer="clipped-adam",
        learning_rate=0.005,
        momentum=0.9,
        schedule="cosine",
        batch_size=64,
        max_epochs=100,
        validation_fraction=0.1,
        patience=None,
        tol=1e-4,
        fine_tune_epochs=10,
        fine_tune_learning_rate=1e-4,
        warn_below=1e-3,
        device="cpu",
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.architecture = architecture
        self.grid = grid
        self.hidden_size = hidden_size
        self.filters = filters
        self.residual = residual
        self.bounded = bounded
        self.kl_weight = kl_weight
        self.kl_reduction = kl_reduction
        self.noise = noise
        self.compression = compression
        self.weighting = weighting
        self.output = output
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.tol = tol
        self.fine_tune_epochs = fine_tune_epochs
        self.fine_tune_learning_rate = fine_tune_learning_rate
        self.warn_below = warn_below
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def kl_divergence(self, X):
        """Return how far the distribution of each code is from the prior.

        A dimension that the decoder does not use has none: its distribution is the
        standard normal one, whatever the spectrum.

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
        return VariationalLoss(self.kl_weight, self.kl_reduction)


class AEFeatureExtractor(SpectrumAutoencoder):
    """Compress spectra to the codes of a deterministic autoencoder.

    Encoder and decoder are those of :class:`VAEFeatureExtractor`, and so is all that
    is said there of noise, principal components and weights; but each spectrum has
    one code, not a distribution, and training minimises the mean square error alone.
    Nothing keeps the codes of neighbouring spectra together: a measured spectrum may
    be given a code that no simulated one has.

    The standard deviation of a code from `encode` is what the misfit of the spectrum
    does to the code.

    Parameters
    ----------
    n_components : int, default=30
        Dimensions of the code.
    architecture : {"dense", "conv"}, default="dense"
        Layers of the network: dense ones on the features, or convolutions on the image
        that the features are the measured pixels of. The latter cost some hundred times
        as much.
    grid : SpectrumGrid or None, default=None
        Grid of the spectra, for ``architecture="conv"``: its visible pixels must be the
        features. None: the features lie along a line.
    hidden_size : int or None, default=None
        Units of the dense hidden layers. None: 400, and 200 for
        ``architecture="conv"``.
    filters : tuple of int, default=(32, 64, 128)
        Filters of each convolution (3 x 3, stride 2) of ``architecture="conv"``, from
        the pixels inwards.
    residual : bool, default=False
        Whether dense layers are a correction to a linear map, both ways, which begins
        as the first `n_components` principal components (or features, without
        `compression`). Not used by convolutions.
    bounded : bool, default=False
        Whether tanh keeps the codes and the outputs of the decoder within 1.
    noise : float, default=0.3
        Largest standard deviation, in the unit of X, of the white noise added to
        training spectra. 0: none.
    compression : int, "auto" or None, default="auto"
        Principal components between pixels and network. Fewer are used
        (`n_compressed_`) where the training spectra do not have so many of a spread
        above 1e-4 of the first. None: pixels. "auto": 64 for dense layers, None for
        convolutions, which need pixels.
    weighting : float or None, default=0.5
        How much components (or pixels) that vary little over the training set count:
        each is divided by its standard deviation to this power, 0 leaving them as they
        are and 1 making them equal, and all by one number that makes the mean square 1.
        None: not even that, and pixels are not centred.
    output : {"mean", "distribution"}, default="mean"
        What `transform` gives: the code, or codes followed by the standard deviations
        of `encode`, from which :class:`~skphonon.learning.ForceConstantRegressor`
        with ``latent="distribution"`` draws codes. Needs no new `fit`.
    optimizer : {"clipped-adam", "adam", "adamw", "sgd"}, default="clipped-adam"
        Rule of the steps. "clipped-adam" is Adam that adapts ten times as fast to
        steeper places and shortens a gradient longer than 1: at high learning rates
        "adam" may leave what it has learnt. "adamw" is Adam with decay of weights.
    learning_rate : float, default=0.005
        Highest learning rate in `fit`.
    momentum : float, default=0.9
        Momentum of ``optimizer="sgd"``; Adam has its own.
    schedule : {"cosine", "constant"}, default="cosine"
        Course of the learning rate in `fit`: a short rise, then half a cosine down
        to zero at `max_epochs`, or no change.
    batch_size : int, default=64
        Samples a step.
    max_epochs : int, default=100
        Passes through the data in `fit`, at most.
    validation_fraction : float or None, default=0.1
        Part of the samples, chosen at random, that `fit` holds out; the weights with
        the lowest loss on them are kept. None: train on all, keep the last.
    patience : int or None, default=None
        `fit` stops after so many epochs in which the held-out loss did not fall, which
        cuts a cosine short. None: never.
    tol : float, default=1e-4
        Relative fall of the held-out loss that counts for `patience`.
    fine_tune_epochs : int, default=10
        Passes through the data in `partial_fit`, which holds nothing out. After many
        the code also follows noise and background of the few spectra it was tuned
        to, and their standard deviations become too small.
    fine_tune_learning_rate : float, default=1e-4
        Learning rate in `partial_fit`, constant.
    warn_below : float or None, default=0.001
        `transform` warns of foreign spectra (:class:`OutOfDistributionWarning`) where
        `score_samples`, corrected for the number of spectra in the call, is below. That
        is the probability of a false alarm. None: never.
    device : str, default="cpu"
        Where torch computes: "cpu", "cuda", or "auto" for a GPU where there is one.
        A pickle made on a GPU loads on the CPU where there is none.
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
        Mean training spectrum, where spectra are centred.
    components_ : ndarray of shape (`n_compressed_`, `n_features_in_`) or None
        Principal components of the training spectra, orthonormal.
    input_scale_ : ndarray of shape (`n_compressed_`,) or None
        Factors that bring components or pixels to the scale of the network.
    n_components_ : int
        Dimensions of the code.
    n_compressed_ : int
        Inputs of the network: principal components, or `n_features_in_`.
    history_ : list of dict
        Epoch, learning rate and losses of every epoch of `fit` and `partial_fit`.
    reference_ : ndarray of shape (n_reference, 2)
        Misfits and distances (see `novelty`) of the spectra that `fit` held out, at
        most 2000. Where nothing was held out they are those of training spectra, which
        are smaller: p-values are then too small.
    reference_codes_ : ndarray of shape (n_reference, `n_components_`)
        Mean codes of these spectra.
    allowance_ : ndarray of shape (2,)
        How much more misfit and distance is typical since `partial_fit`.
    code_mean_ : ndarray of shape (`n_components_`,)
        Mean of the mean codes of training spectra.
    code_whitening_ : ndarray of shape (`n_components_`, `n_components_`)
        What turns offsets from it into vectors as long as the `distance`.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, where they are all strings.

    See Also
    --------
    VAEFeatureExtractor : The variational one.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.learning import AEFeatureExtractor
    >>> centre = np.linspace(-1, 1, 200)[:, None]
    >>> X = np.exp(-4 * (np.linspace(-2, 2, 30) - centre) ** 2)  # moving peaks
    >>> extractor = AEFeatureExtractor(3, noise=0.05, batch_size=16, random_state=0)
    >>> extractor.fit_transform(X).shape
    (200, 3)
    >>> extractor.score(X) > 0.98
    True
    """

    def __init__(
        self,
        n_components=30,
        *,
        architecture="dense",
        grid=None,
        hidden_size=None,
        filters=(32, 64, 128),
        residual=False,
        bounded=False,
        noise=0.3,
        compression="auto",
        weighting=0.5,
        output="mean",
        optimizer="clipped-adam",
        learning_rate=0.005,
        momentum=0.9,
        schedule="cosine",
        batch_size=64,
        max_epochs=100,
        validation_fraction=0.1,
        patience=None,
        tol=1e-4,
        fine_tune_epochs=10,
        fine_tune_learning_rate=1e-4,
        warn_below=1e-3,
        device="cpu",
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.architecture = architecture
        self.grid = grid
        self.hidden_size = hidden_size
        self.filters = filters
        self.residual = residual
        self.bounded = bounded
        self.noise = noise
        self.compression = compression
        self.weighting = weighting
        self.output = output
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.tol = tol
        self.fine_tune_epochs = fine_tune_epochs
        self.fine_tune_learning_rate = fine_tune_learning_rate
        self.warn_below = warn_below
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _loss(self):
        return ReconstructionLoss()
