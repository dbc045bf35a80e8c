"""A network in the place of a simulator: intensity from coordinates and parameters.

Rows are pixels, not spectra: first the coordinates of a pixel (such as h, k, l and
energy), then the parameters of the model, such as exchange constants. The network is
a smooth function of both, so a spectrum can be asked for anywhere in the box of its
training, with exact derivatives.
"""

import copy

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_array, check_is_fitted
from torch import nn

from skphonon._validation import (
    ROWS_ARE_PIXELS,
    StrOptions,
    at_least,
    fit_context,
    parameter_rows,
    positive,
    validate_spectra,
)
from skphonon.learning._extrapolation import (
    ExtrapolationWarning,
    anchors_of,
    scale,
    warn_of_box,
    warn_of_gaps,
)
from skphonon.learning._network_estimator import (
    FINE_TUNING,
    STEPS,
    STOPPING,
    TRAINING,
    NetworkEstimator,
)
from skphonon.learning._networks import SineNetwork, layer_sizes
from skphonon.learning._simulations import draw_simulations
from skphonon.learning._training import hold_out, new_generator

__all__ = ["ExtrapolationWarning", "ImplicitSpectrumModel"]

_ROWS_AT_ONCE = 1024  # what stays in the cache of a processor
_ROUNDING = 1e-9  # of the highest intensity


class ImplicitSpectrumModel(RegressorMixin, NetworkEstimator):
    r"""Learn intensity as a smooth function of coordinates and parameters.

    A network with sines between its layers (an implicit neural representation [1]_)
    maps a row of coordinates and parameters to :math:`\log(1 + S)`, as in [2]_. It
    takes the place of a simulator that is slow or has no derivatives: trained by
    `fit_simulator`, it is a simulator of the same pixels itself, for
    :class:`~skphonon.inversion.LeastSquaresInverter` and
    :class:`~skphonon.inversion.NelderMeadInverter`; and
    :class:`~skphonon.inversion.PixelInverter` fits it to pixels anywhere. Where the
    exact simulator is fast and differentiable, use that: a network is never better.

    All inputs are scaled to -1 to 1. Outside of that box the network knows nothing;
    it warns then.

    Parameters
    ----------
    hidden_sizes : tuple of int, default=(64, 64, 64, 64, 64)
        Units of each hidden layer.
    n_parameters : int, default=0
        How many of the last columns of X are parameters, not coordinates. Not read by
        `fit_simulator`.
    target : {"log1p", "linear"}, default="log1p"
        What the network learns: the logarithm of one plus the intensity, which must
        not be negative then, or the intensity itself.
    unit : float, default=1.0
        Intensity that counts as 1 in the logarithm.
    ranges : array-like of shape (n_features, 2), default=None
        Least and largest value of each column of X. None: those of the first training
        set. Not read by `fit_simulator`.
    omega_0 : float or None, default=10.0
        Highest angular frequency of the first layer of a new network, for scaled
        inputs: the higher, the sharper the structures that are learnt, and the less
        smoothly it interpolates. The initialisation is that of [1]_, or with None the
        plain one of torch.
    optimizer : {"adam", "clipped-adam"}, default="clipped-adam"
        Rule of the steps; see :class:`~skphonon.learning.VAEFeatureExtractor`.
    learning_rate : float, default=0.01
        Highest learning rate.
    schedule : {"cosine", "constant"}, default="cosine"
        Course of the learning rate: a short rise, then half a cosine down to zero
        at `max_epochs`, or no change.
    batch_size : int, default=2048
        Pixels a step.
    max_epochs : int, default=20
        Passes through the data, at most.
    fine_tune_epochs : int, default=10
        Passes through the data of `partial_fit`.
    fine_tune_learning_rate : float, default=1e-4
        Constant learning rate of `partial_fit`.
    validation_fraction : float or None, default=0.1
        Part of the rows, or of the simulations of `fit_simulator`, that is held out;
        the weights with the lowest error on them are kept. None: train on all.
    patience : int or None, default=None
        Stop after so many epochs in which the held-out error did not fall.
        None: never.
    tol : float, default=1e-4
        Relative fall of the held-out error that counts for `patience`.
    device : str, default="cpu"
        Where torch computes: "cpu", "cuda", or "auto" for a GPU where there is one.
    random_state : int, RandomState instance or None, default=None
        Determines first weights, batches, held-out rows, parameters and pixels.
        An int makes results reproducible.
    verbose : int, default=0
        Show progress bars if positive.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained network, from scaled inputs to standardised targets.
    ranges_ : ndarray of shape (n_features, 2)
        What is scaled to -1 to 1.
    n_parameters_ : int
        How many of the last columns are parameters.
    bounds_ : ndarray of shape (2, n_parameters)
        Least and largest parameters of the training set: the `bounds` of
        :class:`~skphonon.inversion.LeastSquaresInverter`.
    target_mean_, target_scale_ : float
        What standardises targets.
    history_ : list of dict
        Epoch, learning rate and losses (mean square error, of standardised targets) of
        every epoch.
    held_out_correlation_ : ndarray of shape (n_held_out,)
        Of each simulation that `fit_simulator` held out: correlation between its
        target and the network's. Otherwise there is one, of all rows held out.
    parameter_names : list of str
        In the order of the columns.
    reference : ndarray of shape (n_parameters,)
        That of the simulator or, without one, the middle of `bounds_`.
    grid : object
        That of the simulator, if it had one.
    n_features_in_ : int
        Columns seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, where they are all strings.

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
    >>> from skphonon import ImplicitSpectrumModel
    >>> rng = np.random.default_rng(0)
    >>> x, position = rng.uniform([[0], [3]], [[10], [7]], size=(2, 3000))
    >>> intensity = np.exp(-((x - position) ** 2) / 2)
    >>> model = ImplicitSpectrumModel(
    ...     (30, 30), n_parameters=1, omega_0=5, learning_rate=0.01, batch_size=128,
    ...     max_epochs=30, random_state=0,
    ... ).fit(np.column_stack([x, position]), intensity)
    >>> model.simulate_at([[4.0], [5.0], [6.0]], [[5.0]]).round(1)
    array([[0.6, 1. , 0.6]])
    >>> model.jacobian_at([[4.0], [5.0], [6.0]], [[5.0]]).shape
    (1, 3, 1)
    """

    _network = SineNetwork

    _parameter_constraints = {
        "hidden_sizes": ["array-like"],
        "n_parameters": [at_least(0)],
        "target": [StrOptions({"log1p", "linear"})],
        "unit": [positive()],
        "ranges": ["array-like", None],
        "omega_0": [positive(), None],
        "optimizer": [StrOptions({"adam", "clipped-adam"})],
        "schedule": STEPS["schedule"],
        **TRAINING,
        **STOPPING,
        **FINE_TUNING,
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
        optimizer="clipped-adam",
        learning_rate=0.01,
        schedule="cosine",
        batch_size=2048,
        max_epochs=20,
        fine_tune_epochs=10,
        fine_tune_learning_rate=1e-4,
        validation_fraction=0.1,
        patience=None,
        tol=1e-4,
        device="cpu",
        random_state=None,
        verbose=0,
    ):
        self.hidden_sizes = hidden_sizes
        self.n_parameters = n_parameters
        self.target = target
        self.unit = unit
        self.ranges = ranges
        self.omega_0 = omega_0
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.fine_tune_epochs = fine_tune_epochs
        self.fine_tune_learning_rate = fine_tune_learning_rate
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.tol = tol
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Train a new network on pixels.

        Interrupted, it leaves the estimator unfitted.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_coordinates + n_parameters)
            Where pixels are, and the parameters that their intensities belong to.
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

        Parameters are drawn evenly from a box; where the simulator has `is_stable`,
        those of an unstable ground state are drawn again. Each simulation lends some
        of its visible pixels, drawn evenly too. Interrupted, it leaves the estimator
        unfitted.

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
            Without `bounds`: how far parameters go from the reference of the simulator,
            both ways, as a fraction of its size
            (:func:`~skphonon.physics.priors.parameter_scales`).
        n_pixels : int or None, default=4096
            Pixels that a simulation lends, at most. None: all.
        coordinates : array-like of shape (n_pixels, n_coordinates), default=None
            Where the pixels of a simulation are. None: as its grid tells, the
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
        """Train on, at a low learning rate; interrupted, it leaves all as it was.

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
            If parameters or coordinates lie outside the box.
        """
        if not self.__sklearn_is_fitted__():
            return self.fit(X, y)
        X, y = self._validate(X, y, reset=False)
        self._warn_of(X)
        inputs = np.float32(scale(X, self.ranges_))
        self._fine_tune(self.net_, inputs, np.float32(self._standardize(y))[:, None])
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
            Where nothing scatters a little below zero, now and then.

        Warns
        -----
        ExtrapolationWarning
            If rows lie outside the box of the training set, or coordinates far from
            any of it.
        """
        check_is_fitted(self)
        X = validate_spectra(
            self, X, dtype=np.float64, reset=False, remedy=ROWS_ARE_PIXELS
        )
        self._warn_of_both(*np.split(X, [self._n_coordinates], axis=1))
        network = copy.deepcopy(self.net_.module_).double()  # rounding can be seen here
        inputs = torch.as_tensor(scale(X, self.ranges_), device=self.net_.device)
        with torch.inference_mode():
            parts = [network(rows)[:, 0] for rows in inputs.split(_ROWS_AT_ONCE)]
        return self._intensity(torch.cat(parts).cpu().numpy())[0]

    def simulate_at(self, coordinates, parameters):
        """Return intensities at any coordinates.

        Parameters
        ----------
        coordinates : array-like of shape (n_pixels, n_coordinates)
            Where.
        parameters : array-like of shape (n_samples, n_parameters) or (n_parameters,)
            For which parameters.

        Returns
        -------
        ndarray of shape (n_samples, n_pixels)
            In the unit of the training set.

        Warns
        -----
        ExtrapolationWarning
            As for `predict`.
        """
        rows, coordinates = self._places(coordinates, parameters)
        self._warn_of_both(coordinates, rows)
        return self._evaluate(coordinates, rows, derivatives=False)[0]

    def jacobian_at(self, coordinates, parameters, return_spectra=False):
        """Return derivatives of intensities by the parameters, at any coordinates.

        Parameters
        ----------
        coordinates : array-like of shape (n_pixels, n_coordinates)
            Where.
        parameters : array-like of shape (n_samples, n_parameters) or (n_parameters,)
            For which parameters.
        return_spectra : bool, default=False
            Whether to return intensities too.

        Returns
        -------
        derivatives : ndarray of shape (n_samples, n_pixels, n_parameters)
            Exact ones of the network.
        intensities : ndarray of shape (n_samples, n_pixels)
            Only with ``return_spectra=True``.

        Warns
        -----
        ExtrapolationWarning
            As for `predict`.
        """
        rows, coordinates = self._places(coordinates, parameters)
        self._warn_of_both(coordinates, rows)
        spectra, derivatives = self._evaluate(coordinates, rows, derivatives=True)
        return (derivatives, spectra) if return_spectra else derivatives

    def simulate(self, parameters):
        """Return spectra on the pixels of the simulator of `fit_simulator`.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters) or (n_parameters,)
            In the order of `parameter_names`.

        Returns
        -------
        ndarray of shape (n_samples, n_pixels)
            NaN where the simulator sees nothing.

        Warns
        -----
        ExtrapolationWarning
            If parameters lie outside `bounds_`.
        """
        return self._on_pixels(parameters, derivatives=False)[0]

    def jacobian(self, parameters, return_spectra=False):
        """Return derivatives of the spectra of `simulate` by the parameters.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters) or (n_parameters,)
            In the order of `parameter_names`.
        return_spectra : bool, default=False
            Whether to return spectra too.

        Returns
        -------
        derivatives : ndarray of shape (n_samples, n_pixels, n_parameters)
            NaN where the simulator sees nothing.
        spectra : ndarray of shape (n_samples, n_pixels)
            Only with ``return_spectra=True``.

        Warns
        -----
        ExtrapolationWarning
            As for `simulate`.
        """
        spectra, derivatives = self._on_pixels(parameters, derivatives=True)
        return (derivatives, spectra) if return_spectra else derivatives

    @property
    def parameter_names(self):
        """Names of the parameters, in the order of the columns."""
        check_is_fitted(self)
        if self._simulated is not None:
            return list(self._simulated["names"])
        names = getattr(self, "feature_names_in_", np.arange(self.n_features_in_))
        return [str(name) for name in names[self._n_coordinates :]]

    @property
    def reference(self):
        """Parameters to start from, an array of shape (n_parameters,)."""
        check_is_fitted(self)
        if self._simulated is not None:
            return self._simulated["reference"].copy()
        return self.bounds_.mean(axis=0)

    @property
    def grid(self):
        """Grid of the simulator of `fit_simulator`."""
        return self._learnt_from_simulator("grid")

    @property
    def bounds_(self):
        """Least and largest parameters, an array of shape (2, n_parameters)."""
        check_is_fitted(self)
        return self.ranges_[self._n_coordinates :].T

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = self.target == "log1p"
        return tags

    @property
    def _n_coordinates(self):
        return self.n_features_in_ - self.n_parameters_

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
        inputs, targets = np.float32(scale(X, ranges)), np.float32(self._standardize(y))
        generator = new_generator(random_state)
        groups = hold_out(len(X) // n_each, self.validation_fraction, generator)
        held_out = (groups[:, None] * n_each + np.arange(n_each)).ravel()
        if self._n_coordinates:
            places = inputs[:, : self._n_coordinates]
            self._anchors, self._radius = anchors_of(places, random_state)
        sizes = layer_sizes(self.n_features_in_, self.hidden_sizes, 1)
        net = self._new_net(SineNetwork(sizes, self.omega_0, generator), generator)
        self._train(net, inputs, targets[:, None], held_out)
        self.net_ = net
        n_sets = len(groups) if n_each > 1 else min(len(groups), 1)
        self.held_out_correlation_ = _correlations(
            net, inputs[held_out], targets[held_out], n_sets
        )
        return self

    def _loss(self):
        return nn.MSELoss()

    def _standardize(self, y):
        target = np.log1p(y / self.unit) if self.target == "log1p" else y / self.unit
        return (target - self.target_mean_) / self.target_scale_

    def _intensity(self, outputs):
        """Return intensities, and their derivatives by the outputs of the network."""
        target = self.target_mean_ + self.target_scale_ * outputs
        slope = np.full_like(target, self.unit * self.target_scale_)
        if self.target == "linear":
            return self.unit * target, slope
        return self.unit * np.expm1(target), slope * np.exp(target)

    def _places(self, coordinates, parameters):
        check_is_fitted(self)
        rows = parameter_rows(parameters, self.parameter_names)
        coordinates = check_array(coordinates, dtype=np.float64)
        if coordinates.shape[1] != self._n_coordinates:
            raise ValueError(
                f"coordinates must have {self._n_coordinates} columns, as in training, "
                f"got {coordinates.shape[1]}."
            )
        return rows, coordinates

    def _learnt_from_simulator(self, name):
        check_is_fitted(self)
        if self._simulated is None or self._simulated[name] is None:
            raise AttributeError(
                f"{type(self).__name__} has {name} of a simulator only after "
                "fit_simulator, and if the simulator has them; use simulate_at and "
                "jacobian_at."
            )
        return self._simulated[name]

    def _on_pixels(self, parameters, derivatives):
        visible = self._learnt_from_simulator("visible")
        rows = parameter_rows(parameters, self.parameter_names)
        self._warn_of(rows, self._n_coordinates)
        coordinates = self._simulated["coordinates"][visible]
        spectra, slopes = self._evaluate(coordinates, rows, derivatives)
        whole = np.full((len(rows), len(visible)), np.nan)
        whole[:, visible] = spectra
        if not derivatives:
            return whole, None
        derivative = np.full((*whole.shape, self.n_parameters_), np.nan)
        derivative[:, visible] = slopes
        return whole, derivative

    def _evaluate(self, coordinates, rows, derivatives):
        """Return intensities and, if asked, derivatives at all pixels for each row."""
        n = self._n_coordinates
        places = scale(coordinates, self.ranges_[:n])
        scaled = scale(rows, self.ranges_[n:])
        network = self.net_.module_
        kind = {"dtype": torch.float32, "device": self.net_.device}
        places = torch.as_tensor(places, **kind).split(_ROWS_AT_ONCE)
        outputs, slopes = [], []
        with torch.inference_mode():
            for row in torch.as_tensor(scaled, **kind):
                found = [network.along(part, row, derivatives) for part in places]
                outputs.append(torch.cat([value for value, _ in found]))
                if derivatives:
                    slopes.append(torch.cat([slope for _, slope in found]))
        spectra, by_output = self._intensity(
            torch.stack(outputs).cpu().double().numpy()
        )
        if not derivatives:
            return spectra, None
        widths = np.diff(self.ranges_[n:], axis=1).ravel()
        slopes = torch.stack(slopes).cpu().numpy() * 2 / np.where(widths > 0, widths, 2)
        return spectra, by_output[..., None] * slopes

    def _warn_of_both(self, coordinates, parameters):
        """Warn at the caller of the public method that calls this."""
        self._warn_of(coordinates, gaps_too=True)
        self._warn_of(parameters, self._n_coordinates)

    def _warn_of(self, values, first=0, gaps_too=False):
        """Warn of values in columns from `first`, five calls up."""
        columns = slice(first, first + values.shape[1])
        names = [f"coordinate {n}" for n in range(self._n_coordinates)]
        names += [f"parameter {name}" for name in self.parameter_names]
        ranges = self.ranges_[columns]
        warn_of_box(values, ranges, names[columns], stacklevel=5)
        if gaps_too and self._n_coordinates:
            warn_of_gaps(values, ranges, self._anchors, self._radius, stacklevel=5)


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
        parts = [net.module_(rows)[:, 0] for rows in x.split(_ROWS_AT_ONCE)]
    found = torch.cat(parts).cpu().double().numpy().reshape(n_sets, -1)
    wanted = targets.astype(float).reshape(n_sets, -1)
    found -= found.mean(axis=1, keepdims=True)
    wanted -= wanted.mean(axis=1, keepdims=True)
    size = np.sqrt((found**2).sum(axis=1) * (wanted**2).sum(axis=1))
    return (found * wanted).sum(axis=1) / np.where(size > 0, size, 1.0)
