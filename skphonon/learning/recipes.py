"""Pipelines from spectra to force constants, and their fine-tuning.

A recipe is a pipeline of estimators with certain parameters, which can be changed by
``set_params`` and searched over like those of any pipeline.
"""

import copy

from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.validation import check_is_fitted

from skphonon.learning.architectures import Convolutional, Dense
from skphonon.learning.features import AEFeatureExtractor, VAEFeatureExtractor, of_mean
from skphonon.learning.regression import ForceConstantRegressor
from skphonon.learning.trainer import Trainer
from skphonon.preprocessing import MaskedSpectrumPreprocessor

__all__ = ["fine_tune", "powder_network", "su_li_2024"]

_BATCH = 64  # samples in a step
_KL_WEIGHT = 1e-6  # of the divergence summed over a batch
MODELS = ("FCAE", "FCVAE", "CNNAE", "CNNVAE")


def su_li_2024(
    model="FCVAE",
    *,
    n_components=30,
    grid=None,
    max_epochs=2000,
    device="cpu",
    random_state=None,
    verbose=0,
):
    """Make the pipeline of Su and Li [1]_, with their settings.

    Autoencoders of 4144 pixels - 400 units - code and back, or of three convolutions
    and 200 units, tanh after every layer; stochastic gradient descent with momentum
    0.9 in batches of 64, at a learning rate of 10 for FCAE and 1 for the others; a
    Kullback-Leibler term of weight 1e-6, summed over the batch. The regressor
    (100, 1000, 1000 and 100 units, learning rate 0.05) learns from sampled codes and
    predicts the mean of 10,000. Nothing is held out and the last weights are kept: fit
    it to the 80 % of the spectra that are meant for training.

    The paper does not give the first weights (here: Glorot's rule), the nonlinearity
    behind convolutions (tanh) or the momentum of the regressor (0.9).
    Training takes hours on two cores; the defaults of the estimators take a minute.

    Parameters
    ----------
    model : {"FCAE", "FCVAE", "CNNAE", "CNNVAE"}, default="FCVAE"
        Dense (FC) or convolutional (CNN), deterministic (AE) or variational (VAE).
    n_components : int, default=30
        Dimensions of the code.
    grid : SpectrumGrid, default=None
        Grid of the spectra, of which convolutional models need the visible pixels.
    max_epochs : int, default=2000
        Passes through the data of extractor and regressor, 2000 in the paper.
    device : str, default="cpu"
        Device of torch: "cpu", "cuda", or "auto" for a GPU where there is one.
    random_state : int, RandomState instance or None, default=None
        Seed of both networks.
    verbose : int, default=0
        Show progress bars during training if positive.

    Returns
    -------
    Pipeline
        Unfitted: MaskedSpectrumPreprocessor, the extractor, ForceConstantRegressor.
        Its extractor fine-tunes (:func:`fine_tune`) for 500 epochs at a learning rate
        of 0.1.

    Raises
    ------
    ValueError
        If there is no such model, or a convolutional one gets no grid.

    References
    ----------
    .. [1] Y. Su and C. Li, "Uncovering obscured phonon dynamics from powder
       inelastic neutron scattering using machine learning", 2024,
       https://doi.org/10.48550/arXiv.2404.13507

    Examples
    --------
    >>> from skphonon.learning import su_li_2024
    >>> pipeline = su_li_2024("FCAE", n_components=5)
    >>> pipeline.named_steps["extractor"].trainer.lr
    10.0
    """
    if model not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}, got {model!r}.")
    convolutional, variational = model.startswith("CNN"), model.endswith("VAE")
    if convolutional and grid is None:
        raise ValueError(f"{model} needs the grid of the spectra, got grid=None.")
    shared = {"noise": 0.0, "random_state": random_state, "verbose": verbose}
    descent = Trainer(
        optimizer="sgd",
        schedule="constant",
        batch_size=_BATCH,
        max_epochs=max_epochs,
        validation_fraction=0.0,
        device=device,
    )
    network = Convolutional(grid) if convolutional else Dense()
    settings = {
        "network": network.set_params(bounded=True),
        "compression": None,
        "weighting": None,
        "trainer": clone(descent).set_params(
            lr=10.0 if model == "FCAE" else 1.0, fine_tune_epochs=500, fine_tune_lr=0.1
        ),
    }
    if variational:
        extractor = VAEFeatureExtractor(
            n_components,
            kl_weight=of_mean(_KL_WEIGHT, _BATCH),
            output="posterior",
            **settings,
            **shared,
        )
    else:
        extractor = AEFeatureExtractor(n_components, **settings, **shared)
    regressor = ForceConstantRegressor(
        (100, 1000, 1000, 100),
        latent="distribution" if variational else "codes",
        n_draws=10_000,
        loss="mse",
        trainer=descent.set_params(lr=0.05),
        **shared,
    )
    steps = [MaskedSpectrumPreprocessor(), extractor, regressor]
    return Pipeline(
        list(zip(("preprocessor", "extractor", "regressor"), steps, strict=True))
    )


def powder_network(
    grid,
    *,
    background=3,
    n_conditions=0,
    n_components=50,
    max_epochs=40,
    random_state=None,
    verbose=0,
):
    r"""Make a pipeline for measured powder spectra.

    A smooth background is projected out of every spectrum, and the level of its noise
    becomes an input. A variational autoencoder returns distributions of codes. The
    regressor learns from draws of them, with an error bar for each spectrum and
    constant. Train it on spectra that differ as measurements do: `noise` and
    `augmentation` of :func:`~skphonon.datasets.make_powder_spectra`, ripples among
    them.

    Parameters
    ----------
    grid : SpectrumGrid
        Grid of the spectra.
    background : int or pair of int, default=3
        Degree of the polynomial of energy and \|Q\| that is projected out.
    n_conditions : int, default=0
        Last columns of X that are no pixels but known, such as a temperature.
    n_components : int, default=50
        Dimensions of the code.
    max_epochs : int, default=40
        Passes through the data of extractor and regressor, each.
    random_state : int, RandomState instance or None, default=None
        Seed of both networks.
    verbose : int, default=0
        Show progress bars during training if positive.

    Returns
    -------
    Pipeline
        Unfitted: MaskedSpectrumPreprocessor, VAEFeatureExtractor and
        ForceConstantRegressor, with the names of ``make_pipeline``. Give its `fit` the
        nuisances that were drawn: ``forceconstantregressor__nuisance=drawn[names]``.

    See Also
    --------
    fine_tune : Adapt it to measured spectra.
    su_li_2024 : The pipeline of a paper.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import SpectrumGrid
    >>> from skphonon.learning import powder_network
    >>> grid = SpectrumGrid(np.arange(10, 45, 1.5), np.arange(1, 8, 0.4))
    >>> list(powder_network(grid).named_steps)[-1]
    'forceconstantregressor'
    """
    shared = {"random_state": random_state, "verbose": verbose}
    return make_pipeline(
        MaskedSpectrumPreprocessor(
            "standard",
            background=background,
            grid=grid,
            n_conditions=n_conditions,
            noise=True,
        ),
        VAEFeatureExtractor(
            n_components,
            kl_weight=1e-5,
            noise=0.1,
            output="distribution",
            trainer=Trainer(max_epochs=max_epochs),
            **shared,
        ),
        ForceConstantRegressor(
            latent="distribution",
            loss="likelihood",
            noise=0.3,
            trainer=Trainer(max_epochs=max_epochs),
            **shared,
        ),
    )


def fine_tune(inverter, spectra, X, y, **fit_params):
    """Continue the training of an extractor on spectra, then fit the regressor anew.

    Spectra need no labels: measured ones adapt the extractor to features that the
    simulation lacks. The regressor is trained from the start on the labelled spectra,
    encoded by the tuned extractor. The pipeline given does not change. With
    ``spectra=X`` the extractor is only trained for longer on its training set, the
    control experiment of Su and Li (:func:`su_li_2024`).

    Parameters
    ----------
    inverter : Pipeline
        Fitted; its last step is a regressor, and the one before has `partial_fit`, such
        as :class:`~skphonon.learning.VAEFeatureExtractor` with the
        `fine_tune_epochs` and `fine_tune_lr` of its trainer.
    spectra : array-like of shape (n_spectra, n_pixels)
        Spectra to train on, on the grid of X; NaN where not measured.
    X : array-like of shape (n_samples, n_pixels)
        Labelled spectra, usually those that `inverter` was trained on.
    y : array-like of shape (n_samples, n_targets)
        Their labels.
    **fit_params
        Of the last step, with its name as in ``Pipeline.fit``, such as
        ``forceconstantregressor__nuisance=drawn``.

    Returns
    -------
    Pipeline
        Fitted, with steps of the same names. All but the last are in a FrozenEstimator,
        so that fitting the pipeline again trains the regressor alone.

    Raises
    ------
    TypeError
        If `inverter` is no such pipeline.
    ValueError
        If its regressor learnt nuisances and `fit_params` has none.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from skphonon.learning import Trainer, VAEFeatureExtractor, fine_tune
    >>> y = np.linspace(-1, 1, 200)[:, None]
    >>> X = np.exp(-4 * (np.linspace(-2, 2, 30) - y) ** 2)
    >>> extractor = VAEFeatureExtractor(
    ...     2, trainer=Trainer(max_epochs=9), random_state=0
    ... )
    >>> inverter = make_pipeline(extractor, Ridge()).fit(X, y)
    >>> tuned = fine_tune(inverter, X[:7] + 0.05, X, y)
    >>> tuned.predict(X).shape
    (200,)
    """
    names, steps = _check_steps(inverter)
    check_is_fitted(inverter)
    *fitted, regressor = [
        step.estimator if isinstance(step, FrozenEstimator) else step for step in steps
    ]
    _check_nuisance(names[-1], regressor, fit_params)
    fitted = copy.deepcopy(fitted)
    for step in fitted[:-1]:
        spectra = step.transform(spectra)
    fitted[-1].partial_fit(spectra)
    frozen = [FrozenEstimator(step) for step in fitted]
    tuned = Pipeline(list(zip(names, [*frozen, clone(regressor)], strict=True)))
    return tuned.fit(X, y, **fit_params)


def _check_steps(inverter):
    """Return names and estimators of the steps that are not "passthrough"."""
    steps = getattr(inverter, "steps", None)
    if steps is not None:
        steps = [
            (name, step) for name, step in steps if step not in (None, "passthrough")
        ]
    if not steps or len(steps) < 2 or not _continues(steps[-2][1]):
        raise TypeError(
            "inverter must be a Pipeline whose last step is a regressor and the one "
            f"before an extractor with partial_fit, got {inverter!r}."
        )
    return zip(*steps, strict=True)


def _continues(step):
    if isinstance(step, FrozenEstimator):
        step = step.estimator
    return hasattr(step, "partial_fit")


def _check_nuisance(name, regressor, fit_params):
    """Refuse to drop the nuisances that a regressor learnt."""
    learnt = getattr(regressor, "nuisance_names_", ())
    if learnt and not any(each.endswith("nuisance") for each in fit_params):
        raise ValueError(
            f"Nuisances that the regressor of inverter learnt ({', '.join(learnt)}) "
            "must be given again, got none. Use "
            f"fine_tune(..., {name}__nuisance=nuisance), as in fit, or "
            f"{name}__nuisance=None to do without."
        )
