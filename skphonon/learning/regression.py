"""Regression of force constants on features of spectra, with error bars."""

import copy
import numbers

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skphonon._validation import (
    StrOptions,
    at_least,
    fit_context,
    validate_spectra,
)
from skphonon._warnings import warn_user
from skphonon.learning._network_estimator import (
    TRAINING,
    NetworkRegressor,
    raise_if,
    standard_scale,
)
from skphonon.learning._networks import (
    CodeNetwork,
    NormalCodeNetwork,
    NormalLoss,
    RootMeanSquareLoss,
    layer_sizes,
)
from skphonon.learning._nuisance_columns import named_columns
from skphonon.learning._training import new_generator

__all__ = ["ForceConstantRegressor"]

LOSSES = {
    "rmse": RootMeanSquareLoss,
    "mse": nn.MSELoss,
    "likelihood": NormalLoss,
}
_NO_GAPS = (
    "It is made for codes: put MaskedSpectrumPreprocessor and an extractor in front, "
    "in a Pipeline, or use SpectrumRegressor, which takes spectra with NaN."
)
_ROWS_AT_ONCE = 8192  # bounds the memory of predictions
_ONE_SIGMA = 0.6827  # of a normal distribution within one standard deviation
_FEW = 30  # samples held out, fewer of which tell factors of spreads to 15 % at best


class ForceConstantRegressor(NetworkRegressor):
    """Predict force constants from latent codes with a dense network.

    The network (tanh between layers, linear at the end) is trained on standardised
    codes and targets.

    With ``latent="codes"`` each row of X is one code, from
    :class:`~skphonon.learning.VAEFeatureExtractor` or any other features. With
    ``latent="distribution"`` the first half of the columns are the means of normal
    distributions and the second half their standard deviations, from
    ``VAEFeatureExtractor(output="distribution")``: the network is trained on codes
    drawn anew for every batch, and a prediction is the mean over `n_draws` codes, for
    which the same random numbers serve in all rows and calls.

    The standard deviation of a prediction combines, in quadrature, the spread of
    the predictions over the drawn codes (``latent="distribution"`` only) and
    `residual_std_`, the root mean square error (at the mean codes) of the samples
    that `fit` held out. The latter holds only for spectra like those of the training
    set. For measured spectra use ``latent="distribution"``: their codes are less
    certain where the extractor describes them less well. With ``loss="likelihood"`` the
    network learns the spread of each target beside its value, other ones for other
    codes [2]_; it takes the place of `residual_std_`, times a factor for each target
    (`spread_factors_`) with which 68.27 % of the samples held out are covered.

    Nuisances that were drawn for the training spectra, such as the resolution, can be
    learnt beside the constants (`nuisance` in `fit`) and are predicted on request: then
    a prediction can be simulated as it was meant.

    Noise is added anew to the codes in every batch. Its standard deviation is drawn for
    each sample, evenly on a logarithmic scale up to `noise`. Predictions then stay
    reasonable for codes near, but not in, the training set.

    The published settings [1]_ are those of :func:`~skphonon.learning.su_li_2024`.

    Parameters
    ----------
    hidden_sizes : tuple of int, default=(512, 512)
        Units of each hidden layer.
    latent : {"codes", "distribution"}, default="codes"
        Content of the columns of X, see above.
    n_draws : int, default=100
        Codes drawn for each sample in `predict` with ``latent="distribution"``. A
        hundred give the spread to 7 %.
    noise : float, default=1.0
        Largest standard deviation of the noise added to codes in training, in units
        of their spread over the training set. 0: none.
    loss : {"rmse", "mse", "likelihood"}, default="rmse"
        Loss over the standardised targets: the mean of their root mean square errors,
        or of their mean square errors; with the latter a target that the spectra hardly
        determine dominates the others. "likelihood" learns their spread along.
    trainer : Trainer or None, default=None
        Settings of training. Its defaults here: at most 100 epochs at a learning rate
        of 0.001 along a cosine, batches of 128, "adam", a tenth of the samples held
        out, by which `residual_std_` is found as well (with none it is too small), no
        early stop.
    random_state : int, RandomState instance or None, default=None
        Seed of first weights, drawn codes, batches and held-out samples.
    verbose : int, default=0
        Show a progress bar during training if positive.

    Attributes
    ----------
    n_codes_ : int
        Dimensions of the codes: `n_features_in_`, or half of it.
    net_ : skorch.NeuralNet
        The trained network, from standardised codes to standardised targets.
    residual_std_ : ndarray of shape (n_targets,)
        Root mean square error of the held-out samples at their mean codes, in the
        unit of the targets, nuisances last.
    spread_factors_ : ndarray of shape (n_targets,)
        Factors of learnt spreads, 1 with other losses.
    nuisance_names_ : list of str
        Names of the nuisances that `fit` was given.
    nuisance_values_ : ndarray of shape (n_nuisances,)
        Values of those that were the same for all samples, NaN for those learnt.
    X_mean_, X_scale_ : ndarray of shape (n_codes,)
        Mean and standard deviation of the codes.
    y_mean_, y_scale_ : ndarray of shape (n_targets,)
        Mean and standard deviation of the targets, nuisances last.
    history_ : DataFrame
        Epoch, learning rate and losses of every epoch.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all are strings.

    References
    ----------
    .. [1] Y. Su and C. Li, "Uncovering obscured phonon dynamics from powder
       inelastic neutron scattering using machine learning", 2024,
       https://doi.org/10.48550/arXiv.2404.13507
    .. [2] M. Seitzer, A. Tavakoli, D. Antic and G. Martius, "On the pitfalls of
       heteroscedastic uncertainty estimation with probabilistic neural networks", 2022,
       https://doi.org/10.48550/arXiv.2203.09168

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.learning import ForceConstantRegressor
    >>> X = np.random.default_rng(0).normal(size=(300, 3))
    >>> y = np.column_stack([X[:, 0] * X[:, 1], np.exp(X[:, 2])])
    >>> regressor = ForceConstantRegressor((50, 50), random_state=0).fit(X, y)
    >>> constants, std = regressor.predict(X[:4], return_std=True)
    >>> constants.shape, std.shape
    ((4, 2), (4, 2))

    What else was drawn for the training spectra is learnt along:

    >>> regressor.fit(X, y, nuisance={"lattice_scale": 1 + 0.01 * X[:, 1]})
    ForceConstantRegressor(hidden_sizes=(50, 50), random_state=0)
    >>> constants, nuisance = regressor.predict(X[:4], return_nuisance=True)
    >>> list(nuisance)
    ['lattice_scale', 'lattice_scale std']
    """

    _training_defaults = {
        **NetworkRegressor._training_defaults,
        "max_epochs": 100,
        "lr": 1e-3,
        "batch_size": 128,
        "optimizer": "adam",
    }

    _parameter_constraints = {
        "hidden_sizes": ["array-like"],
        "latent": [StrOptions({"codes", "distribution"})],
        "n_draws": [at_least(2)],
        "noise": [at_least(0, numbers.Real)],
        "loss": [StrOptions(set(LOSSES))],
        **TRAINING,
    }

    def __init__(
        self,
        hidden_sizes=(512, 512),
        *,
        latent="codes",
        n_draws=100,
        noise=1.0,
        loss="rmse",
        trainer=None,
        random_state=None,
        verbose=0,
    ):
        self.hidden_sizes = hidden_sizes
        self.latent = latent
        self.n_draws = n_draws
        self.noise = noise
        self.loss = loss
        self.trainer = trainer
        self.random_state = random_state
        self.verbose = verbose

    @property
    def _network(self):  # type: ignore[override]
        return NormalCodeNetwork if self.loss == "likelihood" else CodeNetwork

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, nuisance=None):
        """Train a new network.

        Ctrl-C after the first epoch leaves an estimator with the best weights so far.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Codes, or their means and standard deviations; see `latent`.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets, eV/Angstrom^2 for force constants.
        nuisance : DataFrame or mapping from names to n_samples numbers, default=None
            What else is to be predicted, by name, as from
            ``make_powder_spectra(..., return_augmentation=True)``. Rows are those of X
            and y by their position, and where both have an index it must be the same.
            What is the same for all samples is not learnt, but predicted as known, with
            a standard deviation of 0.

        Returns
        -------
        ForceConstantRegressor
            This estimator.

        Raises
        ------
        ValueError
            If X does not fit `latent`, `nuisance` has another number of samples, rows
            in another order or is not finite, targets are too large, training
            diverges, or torch cannot use the device.
        """
        random_state = self._forget()
        given = X, y
        X, y = self._validate(X, y, multi_output=True, y_numeric=True)
        self.nuisance_names_, beside = named_columns(nuisance, len(y), *given)
        same = np.ptp(beside, axis=0) == 0
        self.nuisance_values_ = np.where(same, beside[0], np.nan)
        y = self._columns(y)
        self._n_constants = y.shape[1]
        y = np.hstack([y, beside[:, ~same]])
        self.n_codes_ = self._count_codes(X)
        mean, std = self._split(X)
        drawn = np.square(std).mean(axis=0) if std.size else 0.0
        self.X_mean_, self.X_scale_ = standard_scale(mean, drawn)
        self.y_mean_, self.y_scale_ = standard_scale(y)
        generator = new_generator(random_state)
        sizes = layer_sizes(self.n_codes_, self.hidden_sizes, y.shape[1])
        module = self._network(sizes, generator)
        net = self._new_net(module, generator, self.n_features_in_ - self.n_codes_)
        self._draw_seed = int(random_state.randint(2**31))
        held_out = self._hold_out(len(X), generator)
        inputs = np.float32(self._standardize(X))
        targets = self._standardize_targets(y)
        stopped = self._train(net, inputs, targets, held_out)
        self._judge(net, X, y, held_out)
        self.net_ = net
        raise_if(stopped)
        return self

    def predict(self, X, return_std=False, return_nuisance=False):
        """Predict targets, with their standard deviations if asked.

        Up to rounding, which numbers of threads and of rows change, the result of a row
        depends on that row alone.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows like those of `fit`.
        return_std : bool, default=False
            Whether to return standard deviations too.
        return_nuisance : bool, default=False
            Whether to return the nuisances that `fit` was given too.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predicted targets, float64.
        std : ndarray of the same shape
            Their standard deviations; only with ``return_std=True``.
        nuisance : DataFrame with n_samples rows
            By name, each followed by its standard deviation, ``"name std"``; only with
            ``return_nuisance=True``.

        Raises
        ------
        ValueError
            If a row is none that `fit` would take, or there are no nuisances.
        """
        check_is_fitted(self)
        if return_nuisance and not self.nuisance_names_:
            raise ValueError(
                "return_nuisance=True needs nuisances that fit was given: "
                "fit(X, y, nuisance=...), in a Pipeline "
                "fit(X, y, forceconstantregressor__nuisance=...)."
            )
        values, spreads = self._predict_columns(X)
        n = self._n_constants
        y, std = values[:, :n], spreads[:, :n]
        found = self._as_targets(y, std) if return_std else self._as_targets(y)
        if not return_nuisance:
            return found
        import pandas as pd  # predictions do not need it

        columns, learnt = {}, iter(zip(values[:, n:].T, spreads[:, n:].T, strict=True))
        for name, known in zip(
            self.nuisance_names_, self.nuisance_values_, strict=True
        ):
            value, spread = next(learnt) if np.isnan(known) else (known, 0.0)
            columns[name], columns[f"{name} std"] = value, spread
        table = pd.DataFrame(columns, index=range(len(values)))
        return (*found, table) if return_std else (found, table)

    def _loss(self):
        return LOSSES[self.loss]()

    def _validate(self, X, *y, **options):
        return validate_spectra(
            self, X, *y, dtype=np.float64, remedy=_NO_GAPS, **options
        )

    def _predict_columns(self, X):
        X = self._validate(X, reset=False)
        y, of_draws, learnt = self._evaluate(self.net_, X, self._draws())
        if self.loss == "likelihood":
            return y, self.spread_factors_ * np.sqrt(of_draws + learnt)
        return y, np.sqrt(of_draws + self.residual_std_**2)

    def _judge(self, net, X, y, held_out):
        """Learn errors, and factors of spreads, from samples held out."""
        n_held_out = len(held_out)
        judged = held_out if n_held_out else slice(None)
        self.spread_factors_ = np.ones(y.shape[1])
        found = self._evaluate(net, X[judged])[0]
        residual = y[judged] - found
        self.residual_std_ = np.sqrt(np.square(residual).mean(axis=0))
        if self.loss != "likelihood":
            return
        _warn_of_few(self._training().validation_fraction, n_held_out)
        # at the codes drawn, as in predictions
        found, of_draws, learnt = self._evaluate(net, X[judged], self._draws(net))
        scores = np.abs(y[judged] - found) / np.sqrt(of_draws + learnt)
        self.spread_factors_ = np.quantile(scores, _ONE_SIGMA, axis=0)

    def _jitter(self):
        if self.noise == 0:
            return None
        # The mean codes are displaced, their standard deviations are not.
        return self.noise * (np.arange(self.n_features_in_) < self.n_codes_)

    def _count_codes(self, X):
        n_features = X.shape[1]
        if self.latent == "codes":
            return n_features
        if n_features % 2:
            raise ValueError(
                "With latent='distribution' X must hold means and then as many "
                f"standard deviations, got an odd number of columns ({n_features}). "
                "Use VAEFeatureExtractor(output='distribution') before this step, or "
                "latent='codes'."
            )
        return n_features // 2

    def _split(self, X):
        """Return means and standard deviations of codes (no columns if exact)."""
        mean, std = np.split(X, [self.n_codes_], axis=1)
        if (std < 0).any():
            row, column = np.argwhere(std < 0)[0]
            raise ValueError(
                "With latent='distribution' the second half of the columns must be "
                f"standard deviations, none negative; got {std[row, column]:g} in row "
                f"{row}, column {self.n_codes_ + column}. Use "
                "VAEFeatureExtractor(output='distribution') before this step, or "
                "latent='codes'."
            )
        return mean, std

    def _standardize(self, X):
        mean, std = self._split(X)
        mean = (mean - self.X_mean_) / self.X_scale_
        return np.hstack([mean, std / self.X_scale_]) if std.size else mean

    def _evaluate(self, net, X, noise=None):
        """Return predictions, variances over codes displaced by `noise`, and learnt."""
        # single precision would show in exact predictions, not in the mean of draws
        dtype = torch.float64 if noise is None else torch.float32
        network = copy.deepcopy(net.module_).to(dtype)
        inputs = torch.as_tensor(self._standardize(X), dtype=dtype, device=net.device)
        n_draws = 1 if noise is None else len(noise)
        parts = []
        with torch.inference_mode():
            for rows in inputs.split(max(1, _ROWS_AT_ONCE // n_draws)):
                repeated = None if noise is None else noise.repeat(len(rows), 1)
                drawn = network(rows.repeat_interleave(n_draws, 0), repeated)
                if isinstance(drawn, torch.Tensor):
                    drawn = drawn, torch.full_like(drawn, -torch.inf)
                drawn, spread = (x.reshape(len(rows), n_draws, -1) for x in drawn)
                parts.append(
                    (drawn.mean(1), drawn.var(1, correction=0), spread.exp().mean(1))
                )
        mean, of_draws, learnt = (
            torch.cat(p).cpu().double().numpy() for p in zip(*parts, strict=True)
        )
        unit = self.y_scale_**2
        return self.y_mean_ + self.y_scale_ * mean, unit * of_draws, unit * learnt

    def _draws(self, net=None):
        """Return normal numbers, the same for every row, or None for exact codes."""
        net = self.net_ if net is None else net
        if self.n_codes_ == self.n_features_in_:
            return None
        generator = torch.Generator().manual_seed(self._draw_seed)
        shape = ((self.n_draws + 1) // 2, self.n_codes_)
        half = torch.randn(shape, generator=generator)
        # In pairs of opposite sign, so that the mean prediction is not displaced.
        return torch.cat([half, -half])[: self.n_draws].to(net.device)


def _warn_of_few(fraction, n_held_out):
    """Warn of error bars that few samples, or those trained on, are to scale."""
    if n_held_out >= _FEW:
        return
    size = "rough" if n_held_out else "too small"
    warn_user(
        f"Error bars are {size}: to scale them at least {_FEW} samples must be held "
        f"out, got {n_held_out} (validation_fraction={fraction}). Raise "
        "validation_fraction of the trainer, or train on more samples.",
        UserWarning,
    )
