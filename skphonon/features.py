"""Few features from many pixels: spectra to latent codes and back.

Spectra come in without NaN and at a scale of about 1, as
:class:`~skphonon.preprocessing.MaskedSpectrumPreprocessor` gives them. Codes and
reconstructed spectra are float32.
"""

import numbers

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.extmath import randomized_svd
from sklearn.utils.validation import check_is_fitted, validate_data

from skphonon._networks import VariationalAutoencoder, VariationalLoss
from skphonon._persistence import VersionedEstimator
from skphonon._training import (
    OPTIMIZERS,
    all_or_nothing,
    build_net,
    choose_device,
    hold_out,
    net_from_arrays,
    net_to_arrays,
    new_generator,
    train,
)
from skphonon._validation import (
    Interval,
    StrOptions,
    _fit_context,
    at_least,
    positive,
)

__all__ = ["VAEFeatureExtractor"]

_SMALLEST_SPREAD = 1e-4  # of the first component; rounding errors are below
_N_DISPLACED = 32  # copies of a spectrum, which know a spread to 12 %


class VAEFeatureExtractor(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, VersionedEstimator
):
    """Compress spectra to the codes of a dense variational autoencoder.

    The encoder (spectrum - hidden layer - code) gives a mean and a standard
    deviation for every dimension of the code; the decoder (code - hidden layer -
    spectrum) turns a code drawn from that normal distribution back into a spectrum.
    Hidden units are tanh, all outputs linear. Training minimises

    ``(1 - w) * MSE + w * KL``

    with ``w = kl_weight``: the mean square error over samples and features, and the
    Kullback-Leibler divergence of the code from the standard normal distribution,
    summed over the dimensions of the code and averaged over samples. The spectra
    must be on a common scale of about 1; they are not centred or scaled here.

    White noise is added anew to the spectra that the encoder sees in training, but
    not to those that the decoder is to return; its standard deviation is drawn for
    each spectrum, evenly on a logarithmic scale up to `noise`. So trained the code
    follows what the training spectra have in common, and a measured spectrum, which
    has noise and background besides, is given a code close to theirs.

    By default the network does not see pixels but the first `compression` principal
    components of the training spectra, each divided by the square root of its
    standard deviation (and all by one number that makes the mean square 1): a
    fixed linear map, learnt in `fit`, undone after the decoder. MSE is then that of
    the scaled components. Training is some fifty times faster, and constants that
    change a spectrum little stay in the code, where an error counted in pixels
    forgets them. ``compression=None`` gives the network of the paper [1]_, of which
    the recipe was ``compression=None, noise=0, kl_weight=6.4e-5, optimizer="sgd",
    learning_rate=1.0, momentum=0.9, schedule="constant", batch_size=64,
    max_epochs=2000`` (there KL is summed over a batch of 64, hence the weight) and
    takes hours.

    The standard deviation of a code that users see (`encode`, `transform`) has two
    parts, in quadrature: the encoder's own, and what the misfit of the spectrum
    does to the code. What the decoder cannot return is taken for white noise, and
    the root mean square change of the mean code is taken over 32 copies of the
    spectrum with as much noise added. It hardly matters for simulated spectra, and
    for measured ones, which no code describes, it is the greater part.

    Parameters
    ----------
    n_components : int, default=30
        Dimensions of the code.
    hidden_size : int, default=400
        Units of the hidden layers.
    kl_weight : float, default=1e-6
        Weight of the Kullback-Leibler divergence, from 0 (no regularisation) to 1.
    noise : float, default=0.3
        Largest standard deviation, in the unit of X, of the white noise added to
        training spectra. 0: none.
    compression : int or None, default=64
        Principal components between pixels and network. Fewer are used
        (`n_compressed_`) where the training spectra do not have so many of a spread
        above 1e-4 of the first. None: pixels.
    output : {"mean", "distribution"}, default="mean"
        What `transform` gives: the mean code, or means followed by standard
        deviations, from which
        :class:`~skphonon.regression.ForceConstantRegressor` with
        ``latent="distribution"`` draws codes. Needs no new `fit`.
    optimizer : {"adam", "sgd"}, default="adam"
        Rule of the steps.
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
    patience : int or None, default=20
        `fit` stops after so many epochs in which the held-out loss did not fall.
        None: never.
    tol : float, default=1e-4
        Relative fall of the held-out loss that counts for `patience`.
    fine_tune_epochs : int, default=20
        Passes through the data in `partial_fit`, which holds nothing out. After many
        the code also follows noise and background of the few spectra it was tuned
        to, and their standard deviations become too small.
    fine_tune_learning_rate : float, default=1e-4
        Learning rate in `partial_fit`, constant.
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
        Mean training spectrum, where there is a compression.
    components_ : ndarray of shape (`n_compressed_`, `n_features_in_`) or None
        Principal components of the training spectra, orthonormal.
    component_scale_ : ndarray of shape (`n_compressed_`,) or None
        Factors that bring the principal components to the scale of the network.
    n_components_ : int
        Dimensions of the code.
    n_compressed_ : int
        Inputs of the network: `compression`, or less where the training spectra span
        fewer dimensions; `n_features_in_` without compression.
    history_ : list of dict
        Epoch, learning rate and losses of every epoch of `fit` and `partial_fit`.
        The held-out loss is at the mean code, the training loss at sampled codes.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, where they are all strings.

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
    >>> from skphonon.features import VAEFeatureExtractor
    >>> centre = np.linspace(-1, 1, 200)[:, None]
    >>> X = np.exp(-4 * (np.linspace(-2, 2, 30) - centre) ** 2)  # moving peaks
    >>> extractor = VAEFeatureExtractor(3, noise=0.05, batch_size=16, random_state=0)
    >>> extractor.fit_transform(X).shape
    (200, 3)
    >>> extractor.score(X) > 0.98
    True
    """

    _transient = ("net_",)

    _parameter_constraints = {
        "n_components": [at_least(1)],
        "hidden_size": [at_least(1)],
        "kl_weight": [Interval(numbers.Real, 0, 1, closed="both")],
        "noise": [at_least(0, numbers.Real)],
        "compression": [at_least(1), None],
        "output": [StrOptions({"mean", "distribution"})],
        "optimizer": [StrOptions(set(OPTIMIZERS))],
        "learning_rate": [positive()],
        "momentum": [Interval(numbers.Real, 0, 1, closed="left")],
        "schedule": [StrOptions({"cosine", "constant"})],
        "batch_size": [at_least(1)],
        "max_epochs": [at_least(1)],
        "validation_fraction": [Interval(numbers.Real, 0, 1, closed="left"), None],
        "patience": [at_least(1), None],
        "tol": [at_least(0, numbers.Real)],
        "fine_tune_epochs": [at_least(1)],
        "fine_tune_learning_rate": [positive()],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_components=30,
        *,
        hidden_size=400,
        kl_weight=1e-6,
        noise=0.3,
        compression=64,
        output="mean",
        optimizer="adam",
        learning_rate=5e-3,
        momentum=0.9,
        schedule="cosine",
        batch_size=64,
        max_epochs=100,
        validation_fraction=0.1,
        patience=20,
        tol=1e-4,
        fine_tune_epochs=20,
        fine_tune_learning_rate=1e-4,
        device="cpu",
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.hidden_size = hidden_size
        self.kl_weight = kl_weight
        self.noise = noise
        self.compression = compression
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
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Train a new network on spectra.

        Interrupted, it leaves the estimator unfitted.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, finite and on a common scale of about 1.
        y : None
            Ignored.

        Returns
        -------
        VAEFeatureExtractor
            This estimator.

        Raises
        ------
        ValueError
            If training diverges, or torch cannot use the device.
        """
        net, inputs = self._set_up(X)
        generator = net.iterator_train__generator
        self.history_ = train(
            net,
            inputs,
            inputs,
            epochs=self.max_epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            held_out=hold_out(len(inputs), self.validation_fraction, generator),
            patience=self.patience,
            tol=self.tol,
            verbose=self.verbose,
            name=type(self).__name__,
        )
        self.net_ = net
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Continue the training on more spectra, or measured ones (fine-tuning).

        All spectra given are trained on, for `fine_tune_epochs` at
        `fine_tune_learning_rate`; the principal components stay as they are. On an
        unfitted estimator the network is first set up as `fit` does it.
        Interrupted, it leaves the network as it was before.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, prepared like those of `fit`.
        y : None
            Ignored.

        Returns
        -------
        VAEFeatureExtractor
            This estimator.

        Raises
        ------
        ValueError
            If training diverges, or torch cannot use the device.
        """
        if self.__sklearn_is_fitted__():
            net, inputs = self.net_, self._compress(self._validate(X))
            net.criterion_.kl_weight = self.kl_weight
            net.iterator_train__jitter = self._jitter()
        else:
            net, inputs = self._set_up(X)
            self.history_ = []
        with all_or_nothing(net):
            history = train(
                net,
                inputs,
                inputs,
                epochs=self.fine_tune_epochs,
                batch_size=self.batch_size,
                learning_rate=self.fine_tune_learning_rate,
                verbose=self.verbose,
                name=f"{type(self).__name__}, fine-tuning",
            )
        self.history_ = [*self.history_, *history]
        self.net_ = net
        return self

    def transform(self, X):
        """Return the codes of spectra.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, prepared like those of `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            Mean codes, float32. With ``output="distribution"`` the standard
            deviations follow: ``(n_samples, 2 * n_components)``.
        """
        if self.output == "distribution":
            return np.hstack(self.encode(X))
        return self._mean_codes(X)

    def encode(self, X):
        """Return means and standard deviations of codes, whatever `output` is.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, prepared like those of `fit`.

        Returns
        -------
        mean, std : ndarray of shape (n_samples, n_components)
            Normal distribution of each code, float32.
        """
        inputs = self._network_inputs(X)
        network = self.net_.module_
        scale = torch.as_tensor(self._input_scale()).to(inputs)
        # The same noise for every spectrum: none depends on its neighbours.
        generator = torch.Generator().manual_seed(self._noise_seed)
        noise = torch.randn((_N_DISPLACED, inputs.shape[1]), generator=generator)
        with torch.inference_mode():
            reconstruction, mean, log_variance = network(inputs)
            misfit = ((inputs - reconstruction) / scale).square().mean(1, keepdim=True)
            variance = log_variance.exp()
            for row in noise.to(inputs) * scale:
                displaced, _ = network.encode(inputs + misfit.sqrt() * row)
                variance += (displaced - mean).square() / _N_DISPLACED
        std = variance.sqrt()
        return mean.cpu().numpy(), std.cpu().numpy()

    def inverse_transform(self, X):
        """Return the spectra that belong to codes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Codes; what `transform` gives with ``output="distribution"`` is accepted
            too, of which the means are taken.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Spectra, float32.

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
        codes = torch.as_tensor(codes[:, :n_codes])
        with torch.inference_mode():
            outputs = self.net_.module_.decoder(codes.to(self.net_.device))
        return self._expand(outputs.cpu().numpy())

    def score(self, X, y=None):
        """Return how well spectra survive compression: one minus the mean NMSE.

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
            1 for perfect reconstruction; 0 is what a spectrum of zeros would get.
        """
        again = self.inverse_transform(self._mean_codes(X))
        X = self._validate(X)
        error = np.square(X - again).mean(axis=1)
        return float(1 - np.mean(error / np.square(X).mean(axis=1)))

    @property
    def _n_features_out(self):
        return self.n_components_ * (1 if self.output == "mean" else 2)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "net_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def __getstate__(self):
        state = super().__getstate__()
        if self.__sklearn_is_fitted__():
            state["_net_arrays"] = net_to_arrays(self.net_)
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        saved = vars(self).pop("_net_arrays", None)
        if saved is not None:
            loss = VariationalLoss(self.kl_weight)
            self.net_ = net_from_arrays(
                saved, VariationalAutoencoder, loss, self.device
            )

    def _mean_codes(self, X):
        inputs = self._network_inputs(X)
        with torch.inference_mode():
            mean, _ = self.net_.module_.encode(inputs)
        return mean.cpu().numpy()

    def _network_inputs(self, X):
        check_is_fitted(self)
        compressed = self._compress(self._validate(X))
        return torch.as_tensor(compressed, device=self.net_.device)

    def _validate(self, X, reset=False):
        # One spectrum spans nothing, neither components nor codes.
        n_min = 2 if reset else 1
        return validate_data(
            self, X, dtype=np.float32, reset=reset, ensure_min_samples=n_min
        )

    def _set_up(self, X):
        """Forget the past; return a new net and the compressed spectra."""
        vars(self).pop("net_", None)
        X = self._validate(X, reset=True)
        device = choose_device(self.device)
        random_state = check_random_state(self.random_state)
        generator = new_generator(random_state)
        self._noise_seed = int(random_state.randint(2**31))
        self._fit_compression(X, random_state)
        self.n_components_ = int(self.n_components)
        sizes = (self.n_compressed_, self.hidden_size, self.n_components_)
        net = build_net(
            VariationalAutoencoder(sizes, generator),
            VariationalLoss(self.kl_weight),
            optimizer=self.optimizer,
            momentum=self.momentum,
            device=device,
            generator=generator,
            noise_size=self.n_components_,
            jitter=self._jitter(),
        )
        return net, self._compress(X)

    def _fit_compression(self, X, random_state):
        self.mean_ = self.components_ = self.component_scale_ = None
        self.n_compressed_ = X.shape[1]
        if self.compression is None:
            return
        self.mean_ = X.mean(axis=0)
        n_kept = min(self.compression, *X.shape)
        _, singular_values, components = randomized_svd(
            X - self.mean_,
            n_kept,
            power_iteration_normalizer="QR",
            random_state=random_state,
        )
        spread = singular_values / np.sqrt(len(X))
        n_real = np.sum(spread > spread[0] * _SMALLEST_SPREAD)
        self.n_compressed_ = max(int(n_real), 1)
        self.components_ = np.ascontiguousarray(components[: self.n_compressed_])
        spread = spread[: self.n_compressed_] if n_real else np.ones(1)
        self.component_scale_ = np.float32(1 / np.sqrt(spread * spread.mean()))

    def _jitter(self):
        return self.noise * self._input_scale() if self.noise else None

    def _input_scale(self):
        """Return what white noise of unit spread in X is at the network."""
        # White noise stays white in an orthonormal basis.
        if self.components_ is None:
            return np.ones(self.n_compressed_, dtype=np.float32)
        return self.component_scale_

    def _compress(self, X):
        if self.components_ is None:
            return X
        return (X - self.mean_) @ self.components_.T * self.component_scale_

    def _expand(self, inputs):
        if self.components_ is None:
            return inputs
        return inputs / self.component_scale_ @ self.components_ + self.mean_
