"""Regression of force constants on spectra with missing voxels."""

import copy

import numpy as np
import torch

from skphonon._validation import (
    at_least,
    check_parts,
    fit_context,
    validate_spectra,
)
from skphonon._versioned import parameter_names
from skphonon.instrument.background import terms_on_axes
from skphonon.learning._augmentation import Augmentation, Views, as_augmentation
from skphonon.learning._completion import Completion, Templates, learn_completion
from skphonon.learning._components import known_voxels
from skphonon.learning._network_estimator import (
    TRAINING,
    NetworkRegressor,
    raise_if,
    standard_scale,
)
from skphonon.learning._networks import NormalLoss, NormalNetworks, layer_sizes
from skphonon.learning._training import new_generator

__all__ = ["SpectrumRegressor"]


class SpectrumRegressor(NetworkRegressor):
    r"""Predict force constants from spectra of which any voxels may be missing.

    It is made for single crystals: a row has 1e5 to 1e6 voxels, of which one
    orientation sees a few per cent, with counts of unknown scale on a smooth
    background. NaN marks voxels that were not measured. It also takes powder spectra.

    1. The spectrum is completed by the probabilistic model
       :math:`x = s (\bar x + \sum_k z_k t_k + b) + \epsilon` [1]_, with the mean
       :math:`\bar x` and principal components :math:`t_k` of the training spectra,
       normal scores :math:`z_k`, a scale s, a background b that is constant (or linear
       in energy) and counting noise, whose level follows from the spectrum itself.
    2. The networks see `n_components` principal components of the logarithm of the
       completed spectrum, in which moving peaks look more alike than in intensities,
       the uncertainty of the scores and the level of the noise.
    3. A few dense networks give a normal distribution of each constant. They are
       trained by the likelihood [2]_ on augmented spectra, several of each training
       spectrum, with random voxels, counts and background. A few clean simulations
       therefore serve for all orientations and counting times.

    The standard deviation combines those of the networks with their disagreement. It
    grows where less is seen. It holds for spectra like those of training; for others
    see :class:`~skphonon.calibration.CalibratedRegressor`.

    Training takes as much memory as the training spectra (float32), and the model
    ``4 * n_voxels * n_components`` bytes.

    Parameters
    ----------
    n_components : int, default=128
        Principal components of spectra, and of their logarithms, at most.
    hidden_sizes : tuple of int, default=(256, 256)
        Units of each hidden layer.
    n_networks : int, default=4
        Networks of the ensemble.
    augmentation : Augmentation, default=None
        What augmented spectra differ in: coverage, counts, background, and how many
        there are. None: ``Augmentation()``.
    n_energy : int, default=None
        Number of energies in a row, which is energy-major, for backgrounds that are
        linear in energy. None: they are constant.
    normalize : bool, default=True
        Whether the scale of spectra is unknown. False: it depends on the constants.
    trainer : Trainer or None, default=None
        Settings of training. Its defaults here: at most 20 epochs through all augmented
        spectra at a learning rate of 0.001 along a cosine, batches of 128, "adamw" with
        a weight decay of 1, a tenth of the training spectra held out, no early stop; in
        `partial_fit` 5 epochs at 1e-4. The weight decay together with jitter prevents
        overfitting to a thousand spectra; for many spectra and few constants, a
        hundredth and a twentieth of the defaults are more accurate.
    random_state : int, RandomState instance or None, default=None
        Seed of augmentation, first weights, batches and held-out spectra.
    verbose : int, default=0
        Show a progress bar during training if positive.

    Attributes
    ----------
    seen_ : ndarray of bool of shape (`n_features_in_`,)
        Voxels that some training spectrum has.
    mean_ : ndarray of shape (n_seen,)
        Mean training spectrum there; of a mean of 1 with `normalize`.
    templates_ : ndarray of shape (n_seen, n_templates)
        Principal components of weighted spectra, then shapes of the background.
    products_ : ndarray of shape (n_templates, n_templates)
        Their scalar products.
    chosen_ : ndarray of int of shape (n_chosen,)
        Voxels, by their number among those seen, at which spectra are completed.
    log_mean_ : ndarray of shape (n_chosen,)
        Mean logarithm there.
    log_components_ : ndarray of shape (n_chosen, `n_components_`)
        Principal components of logarithms, scaled.
    n_components_ : int
        Number of components.
    input_mean_, input_scale_ : ndarray of shape (2 * `n_components_` + 1,)
        Offsets and scales of the inputs of the networks.
    y_mean_, y_scale_ : ndarray of shape (n_targets,)
        Mean and standard deviation of the targets.
    net_ : skorch.NeuralNet
        The trained networks.
    history_ : DataFrame
        Epoch, learning rate and losses of every epoch of `fit` and `partial_fit`.
    n_features_in_ : int
        Voxels of a row.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all are strings.

    See Also
    --------
    ForceConstantRegressor : The same from few features, behind an extractor.
    skphonon.inversion.LeastSquaresInverter : Refines predictions (``initial``).

    References
    ----------
    .. [1] M. E. Tipping and C. M. Bishop, "Probabilistic principal component analysis",
       J. R. Stat. Soc. B 61, 611 (1999), :doi:`10.1111/1467-9868.00196`.
    .. [2] M. Seitzer, A. Tavakoli, D. Antic and G. Martius, "On the pitfalls of
       heteroscedastic uncertainty estimation with probabilistic neural networks", 2022,
       https://doi.org/10.48550/arXiv.2203.09168

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.learning import Augmentation, SpectrumRegressor, Trainer
    >>> rng = np.random.default_rng(0)
    >>> y = rng.uniform(10, 30, size=(400, 1))
    >>> X = np.exp(-(((np.arange(40) - y) / 4) ** 2))  # one peak, at y
    >>> regressor = SpectrumRegressor(
    ...     20, augmentation=Augmentation(jitter=0.1, n_views=5),
    ...     trainer=Trainer(weight_decay=0.1, lr=0.005), random_state=0,
    ... ).fit(X, y)
    >>> half = np.where(np.arange(40) % 2, np.nan, 7 * X[:3])  # of another scale
    >>> constants, std = regressor.predict(half, return_std=True)
    >>> bool((abs(constants - y[:3]) < 1).all()), bool((std < 1.5).all())
    (True, True)
    """

    _network = NormalNetworks
    _shortcuts = {**NetworkRegressor._shortcuts, "augmentation": as_augmentation}
    _moved_parameters = {
        **NetworkRegressor._moved_parameters,
        **{
            name: f"give augmentation=Augmentation({name}=...), or "
            f"augmentation__{name} to set_params"
            for name in parameter_names(Augmentation)
        },
    }
    _training_defaults = {
        **NetworkRegressor._training_defaults,
        "max_epochs": 20,
        "lr": 1e-3,
        "batch_size": 128,
        "optimizer": "adamw",
        "weight_decay": 1.0,
        "fine_tune_epochs": 5,
    }

    _parameter_constraints = {
        "n_components": [at_least(1)],
        "hidden_sizes": ["array-like"],
        "n_networks": [at_least(1)],
        "augmentation": [Augmentation, None],
        "n_energy": [at_least(1), None],
        "normalize": ["boolean"],
        **TRAINING,
    }

    def __init__(
        self,
        n_components=128,
        *,
        hidden_sizes=(256, 256),
        n_networks=4,
        augmentation=None,
        n_energy=None,
        normalize=True,
        trainer=None,
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.hidden_sizes = hidden_sizes
        self.n_networks = n_networks
        self.augmentation = augmentation
        self.n_energy = n_energy
        self.normalize = normalize
        self.trainer = trainer
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Learn components, and train new networks on augmented spectra.

        Ctrl-C after the first epoch leaves an estimator with the best weights so far.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, if possible complete and without noise; NaN where voxels are
            missing.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets, eV/Angstrom^2 for force constants.

        Returns
        -------
        SpectrumRegressor
            This estimator.

        Raises
        ------
        ValueError
            If a spectrum is empty or its sum is not positive, `coverage` or a range is
            wrong, training diverges, or torch cannot use the device.
        """
        random_state = self._forget()
        X, y = self._validate(X, y, reset=True)
        y = self._columns(y)
        generator = new_generator(random_state)
        self.seen_ = np.isfinite(X).any(axis=0)
        X = self._spectra(X)
        self.y_mean_, self.y_scale_ = standard_scale(y)
        self._augmentation_seed = int(random_state.randint(2**31))
        views = self._views()
        self._fit_completion(X, random_state)
        inputs, rows = self._augmented(X, views)
        self._fit_scale(inputs)
        sizes = layer_sizes(inputs.shape[1], self.hidden_sizes, y.shape[1])
        module = NormalNetworks(sizes, self.n_networks, generator)
        net = self._new_net(module, generator)
        held_out = self._hold_out(len(X), generator)
        stopped = self._train(
            net,
            self._standardize(inputs),
            self._standardize_targets(y)[rows],
            np.flatnonzero(np.isin(rows, held_out)),
        )
        self.net_ = net
        raise_if(stopped)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y):
        """Continue the training of the networks on more spectra, augmented too.

        Nothing is held out; the components stay as they are. An unfitted estimator is
        fitted. Interrupted, it leaves the networks as they were before.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, as for `fit`. Voxels that `fit` did not see must be NaN.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.

        Returns
        -------
        SpectrumRegressor
            This estimator.

        Raises
        ------
        ValueError
            As from `fit`.
        """
        if not self.__sklearn_is_fitted__():
            return self.fit(X, y)
        check_parts(self)
        X, y = self._validate(X, y, reset=False)
        y = self._columns(y)
        if y.shape[1] != len(self.y_mean_):
            raise ValueError(
                f"y must have {len(self.y_mean_)} columns, as in fit, got {y.shape[1]}."
            )
        self._augmentation_seed += 1  # other noise and voxels than before
        inputs, rows = self._augmented(self._spectra(X), self._views())
        targets = self._standardize_targets(y)[rows]
        self._fine_tune(self.net_, self._standardize(inputs), targets)
        return self

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _update(self, state):
        if "augmentation" not in state:
            names = [name for name in parameter_names(Augmentation) if name in state]
            state["augmentation"] = Augmentation(**{k: state.pop(k) for k in names})

    def _loss(self):
        return NormalLoss()

    def _predict_columns(self, X):
        X = self._spectra(self._validate(X, reset=False))
        inputs = self._standardize(self._completion().inputs(X), np.float64)
        network = copy.deepcopy(self.net_.module_).to(torch.float64)
        with torch.inference_mode():
            outputs = network(torch.as_tensor(inputs, device=self.net_.device))
        mean, log_variance = (part.cpu().numpy() for part in outputs)
        variance = np.exp(log_variance).mean(axis=0) + mean.var(axis=0)
        y = self.y_mean_ + self.y_scale_ * mean.mean(axis=0)
        return y, self.y_scale_ * np.sqrt(variance)

    def _validate(self, X, *y, reset):
        return validate_spectra(
            self,
            X,
            *y,
            **({"multi_output": True, "y_numeric": True} if y else {}),
            dtype=np.float32,
            ensure_all_finite="allow-nan",
            ensure_min_samples=2 if reset else 1,
            reset=reset,
        )

    def _spectra(self, X):
        """Return the voxels that training saw, refusing rows that cannot be used."""
        X = known_voxels(X, self.seen_)
        total = np.nansum(X, axis=1, dtype=float)
        if self.normalize and not (total > 0).all():
            row = int((total <= 0).argmax())
            raise ValueError(
                "The scale of a spectrum is unknown with normalize=True, and its sum "
                f"must be positive; got {total[row]:g} in row {row}. Leave it out, or "
                "use normalize=False."
            )
        return X

    def _background_terms(self):
        """Return the shapes of a background: constant and, with `n_energy`, linear."""
        if self.n_energy is None:
            return np.ones((1, self.n_features_in_), dtype=np.float32)
        n_q, rest = divmod(self.n_features_in_, self.n_energy)
        if rest:
            raise ValueError(
                "n_energy must divide the number of voxels of a row, "
                f"{self.n_features_in_}, got {self.n_energy}."
            )
        axes = np.arange(self.n_energy), np.arange(n_q)
        return np.float32(terms_on_axes(axes, (min(1, self.n_energy - 1), 0)))

    def _views(self):
        given = self._part("augmentation")
        coverage = given.coverage
        n_patterns = (1, 1)
        flat, *slope = self._background_terms()[:, self.seen_]
        if coverage is not None:
            coverage = np.asarray(coverage, dtype=bool)
            if coverage.ndim != 2 or coverage.shape[1] != self.n_features_in_:
                raise ValueError(
                    f"coverage must have shape (n_patterns, {self.n_features_in_}), "
                    f"got {coverage.shape}. Flatten what the grid gives: "
                    "coverage.reshape(len(coverage), -1)."
                )
            coverage = coverage[:, self.seen_]
            if not coverage.any(axis=1).all():
                raise ValueError(
                    "Each pattern of coverage must see a voxel of the training "
                    f"spectra; number {int(coverage.any(axis=1).argmin())} sees none."
                )
            n_patterns = _pair("n_patterns", given.n_patterns or (1, len(coverage)))
            if n_patterns[1] > len(coverage):
                raise ValueError(
                    f"n_patterns must be at most {len(coverage)}, the number of "
                    f"patterns in coverage, got {given.n_patterns!r}."
                )
        return Views(
            coverage,
            n_patterns,
            None if given.counts is None else _pair("counts", given.counts),
            given.background,
            slope[0] if len(slope) else np.zeros_like(flat),
            np.random.default_rng(self._augmentation_seed),
        )

    def _fit_completion(self, X, random_state):
        with_one = self._part("augmentation").background > 0
        terms = self._background_terms()[: None if with_one else 0, self.seen_]
        found = learn_completion(
            X, self.n_components, terms, self.normalize, random_state
        )
        templates = found.templates
        self.mean_, self.templates_ = templates.mean, templates.shapes
        self.products_ = templates.products
        self.n_components_, self.chosen_ = found.n_components, found.chosen
        self.log_mean_, self.log_components_ = found.log_mean, found.log_components

    def _completion(self):
        templates = Templates(
            self.mean_, self.templates_, self.normalize, self.products_
        )
        return Completion(templates, self.chosen_, self.log_mean_, self.log_components_)

    def _augmented(self, X, views):
        """Return inputs of all augmented spectra, and of which row each is."""
        completion = self._completion()
        inputs, rows = [], []
        for _ in range(self._part("augmentation").n_views):
            for group, seen, found in views.draw(X):
                # where not one neutron was counted there is no scale
                kept = (found.sum(axis=1) > 0) | (not self.normalize)
                gram = completion.templates.gram(seen)
                inputs.append(np.float32(completion.inputs_of(found[kept], gram)))
                rows.append(group[kept])
        return np.concatenate(inputs), np.concatenate(rows)

    def _fit_scale(self, inputs):
        """Learn the scale of inputs: one for all codes, others for uncertainties."""
        n = self.n_components_
        self.input_mean_, self.input_scale_ = standard_scale(inputs)
        self._spread = np.float32(self.input_scale_[:n])
        self.input_mean_[:n], self.input_scale_[:n] = 0.0, 0.5

    def _standardize(self, inputs, dtype=np.float32):
        return dtype((inputs - self.input_mean_) / self.input_scale_)

    def _jitter(self):
        jitter = self._part("augmentation").jitter
        if jitter == 0:
            return None
        n = self.n_components_
        spread = np.zeros(2 * n + 1)
        spread[:n] = jitter * self._spread / self.input_scale_[:n]
        return spread


def _pair(name, value):
    """Return the ends of a range, which may be one number."""
    low, high = value if np.shape(value) == (2,) else (value, value)
    if not (np.ndim(low) == np.ndim(high) == 0 and 0 < low <= high):
        raise ValueError(
            f"{name} must be a positive number or two, the second not below the first; "
            f"got {value!r}."
        )
    return low, high
