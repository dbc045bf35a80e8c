"""A network in the place of a simulator: intensity from coordinates and parameters.

Rows are pixels, not spectra: first the coordinates of a pixel (such as h, k, l and
energy), then the parameters of the model, such as exchange constants. The network is
a smooth function of both: it gives a spectrum at any coordinates and parameters within
the ranges of its training set, with exact derivatives.
"""

import copy

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skphonon._validation import (
    ROWS_ARE_PIXELS,
    StrOptions,
    at_least,
    fit_context,
    positive,
    validate_spectra,
)
from skphonon._warnings import ExtrapolationWarning
from skphonon.learning._network_estimator import (
    TRAINING,
    NetworkEstimator,
    raise_if,
)
from skphonon.learning._networks import SineNetwork, layer_sizes
from skphonon.learning._surrogate_extrapolation import anchors_of, scale
from skphonon.learning._surrogate_simulator import ROWS_AT_ONCE, NetworkSimulator
from skphonon.learning._surrogate_training_set import draw_simulations
from skphonon.learning._training import new_generator

__all__ = ["ExtrapolationWarning", "ImplicitSpectrumModel"]

_ROUNDING = 1e-9  # of the highest intensity


class ImplicitSpectrumModel(RegressorMixin, NetworkEstimator, NetworkSimulator):
    r"""Learn intensity as a smooth function of coordinates and parameters.

    A network with sines between its layers (an implicit neural representation [1]_)
    maps a row of coordinates and parameters to :math:`\log(1 + S)`, as in [2]_. It
    takes the place of a simulator that is slow or has no derivatives: trained by
    `fit_simulator`, it is a simulator of the same pixels itself, for
    :class:`~skphonon.inversion.LeastSquaresInverter` and
    :class:`~skphonon.inversion.NelderMeadInverter`; and
    :class:`~skphonon.inversion.PixelInverter` fits it to pixels anywhere. Where the
    exact simulator is fast and differentiable, use that: a network is never better.

    All inputs are scaled to -1 to 1 over the ranges of the training set. Outside of
    them the network extrapolates: its methods warn (:class:`ExtrapolationWarning`).

    Parameters
    ----------
    hidden_sizes : tuple of int, default=(64, 64, 64, 64, 64)
        Units of each hidden layer.
    n_parameters : int, default=0
        Number of the last columns of X that are parameters, not coordinates. Not used
        by `fit_simulator`.
    target : {"log1p", "linear"}, default="log1p"
        Output of the network: the logarithm of one plus the intensity, which then must
        not be negative, or the intensity itself.
    unit : float, default=1.0
        Intensity that counts as 1 in the logarithm.
    ranges : array-like of shape (n_features, 2), default=None
        Least and largest value of each column of X. None: those of the first training
        set. Not used by `fit_simulator`.
    omega_0 : float or None, default=10.0
        Highest angular frequency of the first layer of a new network, for scaled
        inputs: the higher, the sharper the structures that it learns, and the rougher
        it interpolates. First weights are those of [1]_; None: those of torch.
    trainer : Trainer or None, default=None
        Settings of training. Its defaults here: at most 20 epochs through the pixels at
        a learning rate of 0.01 along a cosine, batches of 2048 pixels, "clipped-adam",
        a tenth of the rows held out (of the simulations, for `fit_simulator`), no early
        stop; in `partial_fit` 10 epochs at 1e-4.
    random_state : int, RandomState instance or None, default=None
        Seed of first weights, batches, held-out rows, parameters and pixels.
    verbose : int, default=0
        Show progress bars if positive.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained network, from scaled inputs to standardised targets.
    ranges_ : ndarray of shape (n_features, 2)
        Least and largest inputs, which are scaled to -1 to 1.
    n_parameters_ : int
        Number of the last columns that are parameters.
    bounds_ : ndarray of shape (2, n_parameters)
        Least and largest parameters of the training set: the `bounds` of
        :class:`~skphonon.inversion.LeastSquaresInverter`.
    target_mean_, target_scale_ : float
        Mean and standard deviation of the targets.
    history_ : DataFrame
        Epoch, learning rate and losses (mean square error, of standardised targets) of
        every epoch.
    held_out_correlation_ : ndarray of shape (n_held_out,)
        Correlation between targets and outputs of the network, for each simulation that
        `fit_simulator` held out; after `fit` one number for all rows held out.
    parameter_names : list of str
        Names of the parameters, in the order of the columns.
    reference : ndarray of shape (n_parameters,)
        Reference of the simulator or, without one, the middle of `bounds_`.
    grid : object
        Grid of the simulator, if it had one.
    n_features_in_ : int
        Columns seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all are strings.

    See Also
    --------
    skphonon.inversion.PixelInverter : Fits the parameters to measured pixels.

    Notes
    -----
    :func:`~sklearn.base.clone`, and with it a grid search, forgets what a model has
    learnt. Wrap it in :class:`sklearn.frozen.FrozenEstimator` to hand it to an inverter
    that is cloned.

    References
    ----------
    .. [1] V. Sitzmann et al., "Implicit neural representations with periodic activation
       functions", 2020, https://doi.org/10.48550/arXiv.2006.09661
    .. [2] S. R. Chitturi et al., "Capturing dynamical correlations using implicit
       neural representations", Nat. Commun. 14, 5852 (2023),
       :doi:`10.1038/s41467-023-41378-4`

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.learning import ImplicitSpectrumModel, Trainer
    >>> rng = np.random.default_rng(0)
    >>> x, position = rng.uniform([[0], [3]], [[10], [7]], size=(2, 3000))
    >>> intensity = np.exp(-((x - position) ** 2) / 2)
    >>> model = ImplicitSpectrumModel(
    ...     (30, 30), n_parameters=1, omega_0=5,
    ...     trainer=Trainer(max_epochs=30, batch_size=128), random_state=0,
    ... ).fit(np.column_stack([x, position]), intensity)
    >>> model.simulate_at([[4.0], [5.0], [6.0]], [[5.0]]).round(1)
    array([[0.6, 1. , 0.6]])
    >>> model.jacobian_at([[4.0], [5.0], [6.0]], [[5.0]]).shape
    (1, 3, 1)
    """

    _network = SineNetwork
    _training_defaults = {
        **NetworkEstimator._training_defaults,
        "max_epochs": 20,
        "lr": 0.01,
        "batch_size": 2048,
    }

    _parameter_constraints = {
        "hidden_sizes": ["array-like"],
        "n_parameters": [at_least(0)],
        "target": [StrOptions({"log1p", "linear"})],
        "unit": [positive()],
        "ranges": ["array-like", None],
        "omega_0": [positive(), None],
        **TRAINING,
    }

    def __init__(
        self,
        hidden_sizes=(64, 64, 64, 64, 64),
        *,
        n_parameters=0,
        target="log1p",
        unit=1.0,
        ranges=None,
        omega_0=10.0,
        trainer=None,
        random_state=None,
        verbose=0,
    ):
        self.hidden_sizes = hidden_sizes
        self.n_parameters = n_parameters
        self.target = target
        self.unit = unit
        self.ranges = ranges
        self.omega_0 = omega_0
        self.trainer = trainer
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Train a new network on pixels.

        Ctrl-C after the first epoch leaves an estimator with the best weights so far.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_coordinates + n_parameters)
            Coordinates of pixels, and the parameters that their intensities belong to.
        y : array-like of shape (n_rows,)
            Their intensities, not negative with ``target="log1p"``.

        Returns
        -------
        ImplicitSpectrumModel
            This estimator.

        Raises
        ------
        ValueError
            If intensities are negative or NaN, the settings do not fit X, training
            diverges, or torch cannot use the device.
        """
        random_state = self._forget()
        X, y = self._validate(X, y, reset=True)
        ranges = np.column_stack([X.min(axis=0), X.max(axis=0)])
        if self.ranges is not None:
            ranges = _check_ranges(self.ranges, X.shape[1])
        if self.n_parameters > X.shape[1]:
            raise ValueError(
                f"n_parameters must not exceed the {X.shape[1]} columns of X, got "
                f"{self.n_parameters}."
            )
        return self._fit(X, y, ranges, self.n_parameters, random_state)

    @fit_context(prefer_skip_nested_validation=True)
    def fit_simulator(
        self,
        simulator,
        n_simulations=1000,
        *,
        bounds=None,
        spread=0.5,
        n_pixels=4096,
        coordinates=None,
    ):
        r"""Train a new network on simulations that are made for it.

        Parameters are drawn evenly between bounds; if the simulator has `is_stable`,
        those of an unstable ground state are drawn again. Some of the visible pixels of
        each simulation, drawn evenly too, are trained on. Ctrl-C after the
        first epoch leaves an estimator with the best weights so far.

        Parameters
        ----------
        simulator : simulator
            With `parameter_names`, `reference` and `simulate`, the intensities of
            which are not negative, NaN where the instrument cannot see.
        n_simulations : int, default=1000
            Sets of parameters.
        bounds : pair of array-like of shape (n_parameters,), default=None
            Least and largest values of the parameters. None: see `spread`.
        spread : float or array-like of shape (n_parameters,), default=0.5
            Largest distance of parameters from the reference of the simulator, without
            `bounds`, as a fraction of its size
            (:func:`~skphonon.physics.priors.parameter_scales`).
        n_pixels : int or None, default=4096
            Pixels of each simulation, at most. None: all.
        coordinates : array-like of shape (n_pixels, n_coordinates), default=None
            Coordinates of the pixels of a simulation. None: those of its grid, the
            wavevector first (\|Q\|, or h, k and l) and then the energy.

        Returns
        -------
        ImplicitSpectrumModel
            This estimator, now a simulator itself: with `simulate`, `jacobian`,
            `parameter_names`, `reference` and `grid`.

        Raises
        ------
        ValueError
            If simulations are negative, NaN at some parameters only, or stable
            at hardly any, coordinates or bounds do not fit the simulator, or training
            diverges.
        """
        random_state = self._forget()
        data = draw_simulations(
            simulator,
            n_simulations,
            bounds=bounds,
            spread=spread,
            n_pixels=n_pixels,
            coordinates=coordinates,
            random_state=random_state,
            verbose=self.verbose,
        )
        X, y = self._validate(data.X, data.y, reset=True)
        self._simulated = {
            "names": list(simulator.parameter_names),
            "reference": np.array(simulator.reference, dtype=float),
            "grid": getattr(simulator, "grid", None),
            "coordinates": data.coordinates,
            "visible": data.visible,
        }
        n_parameters = len(self._simulated["names"])
        return self._fit(X, y, data.ranges, n_parameters, random_state, data.n_each)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y):
        """Continue the training at a low learning rate.

        Interrupted, it leaves the network as it was before.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_coordinates + n_parameters)
            Further pixels; ranges stay those of the first call.
        y : array-like of shape (n_rows,)
            Their intensities.

        Returns
        -------
        ImplicitSpectrumModel
            This estimator.

        Raises
        ------
        ValueError
            As for `fit`.

        Warns
        -----
        ExtrapolationWarning
            If parameters or coordinates lie outside `ranges_`.
        """
        if not self.__sklearn_is_fitted__():
            return self.fit(X, y)
        X, y = self._validate(X, y, reset=False)
        self._warn_of(X)
        inputs = scale(X, self.ranges_).astype(np.float32)
        targets = self._standardize(y).astype(np.float32)
        self._fine_tune(self.net_, inputs, targets[:, None])
        return self

    def predict(self, X):
        """Return intensities.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_coordinates + n_parameters)
            Coordinates and parameters.

        Returns
        -------
        ndarray of shape (n_rows,)
            Values may be slightly negative where nothing scatters.

        Warns
        -----
        ExtrapolationWarning
            If rows lie outside `ranges_`, or coordinates far from all of the training
            set.
        """
        check_is_fitted(self)
        X = validate_spectra(
            self, X, dtype=np.float64, reset=False, remedy=ROWS_ARE_PIXELS
        )
        self._warn_of_both(*np.split(X, [self._n_coordinates], axis=1))
        network = copy.deepcopy(self.net_.module_).double()  # rounding can be seen here
        inputs = torch.as_tensor(scale(X, self.ranges_), device=self.net_.device)
        with torch.inference_mode():
            parts = [network(rows)[:, 0] for rows in inputs.split(ROWS_AT_ONCE)]
        return self._intensity(torch.cat(parts).cpu().numpy())[0]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = self.target == "log1p"
        return tags

    def _forget(self):
        self._simulated = None
        return super()._forget()

    def _validate(self, X, y, *, reset):
        X, y = validate_spectra(
            self,
            X,
            y,
            reset=reset,
            dtype=[np.float64, np.float32],
            y_numeric=True,
            remedy=ROWS_ARE_PIXELS,
        )
        # differences that a simulator rounds are no negative intensities
        y = np.where(np.abs(y) < _ROUNDING * np.abs(y).max(), 0, y)
        if self.target == "log1p" and (y < 0).any():
            raise ValueError(
                "Intensities must not be negative with target='log1p', got "
                f"{(y < 0).sum()} of {len(y)} below zero, the least {y.min():g}. Clip "
                "them at zero, or use target='linear'."
            )
        return X, y

    def _fit(self, X, y, ranges, n_parameters, random_state, n_each=1):
        """Train a new network; each `n_each` rows are held out together or not."""
        self.ranges_, self.n_parameters_ = ranges, n_parameters
        self.target_mean_, self.target_scale_ = 0.0, 1.0
        targets = self._standardize(y)
        self.target_mean_ = float(targets.mean(dtype=float))
        self.target_scale_ = float(targets.std(dtype=float)) or 1.0
        inputs = scale(X, ranges).astype(np.float32)
        targets = self._standardize(y).astype(np.float32)
        generator = new_generator(random_state)
        groups = self._hold_out(len(X) // n_each, generator)
        held_out = (groups[:, None] * n_each + np.arange(n_each)).ravel()
        if self._n_coordinates:
            places = inputs[:, : self._n_coordinates]
            self._anchors, self._radius = anchors_of(places, random_state)
        sizes = layer_sizes(self.n_features_in_, self.hidden_sizes, 1)
        net = self._new_net(SineNetwork(sizes, self.omega_0, generator), generator)
        stopped = self._train(net, inputs, targets[:, None], held_out)
        self.net_ = net
        n_sets = len(groups) if n_each > 1 else min(len(groups), 1)
        self.held_out_correlation_ = _correlations(
            net, inputs[held_out], targets[held_out], n_sets
        )
        raise_if(stopped)
        return self

    def _loss(self):
        return nn.MSELoss()

    def _standardize(self, y):
        target = np.log1p(y / self.unit) if self.target == "log1p" else y / self.unit
        return (target - self.target_mean_) / self.target_scale_


def _check_ranges(ranges, n_features):
    ranges = np.asarray(ranges, dtype=float)
    fits = ranges.shape == (n_features, 2)
    if not fits or not (ranges[:, 1] >= ranges[:, 0]).all():
        raise ValueError(
            f"ranges must hold the least and the largest value of each of {n_features} "
            f"columns of X, shape ({n_features}, 2); got shape {ranges.shape}."
        )
    return ranges


def _correlations(net, inputs, targets, n_sets):
    """Return correlations between targets and outputs, for sets of rows of one size."""
    if not n_sets:
        return np.zeros(0)
    x = torch.as_tensor(inputs, device=net.device)
    with torch.inference_mode():
        parts = [net.module_(rows)[:, 0] for rows in x.split(ROWS_AT_ONCE)]
    found = torch.cat(parts).cpu().double().numpy().reshape(n_sets, -1)
    wanted = targets.astype(float).reshape(n_sets, -1)
    found -= found.mean(axis=1, keepdims=True)
    wanted -= wanted.mean(axis=1, keepdims=True)
    size = np.sqrt((found**2).sum(axis=1) * (wanted**2).sum(axis=1))
    return (found * wanted).sum(axis=1) / np.where(size > 0, size, 1.0)
