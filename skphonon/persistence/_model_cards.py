"""Model cards: the settings, training set and scores of a trained model.

A card is made of numbers, text, lists and dicts, so that any program can read it, and
is kept inside the model, in pickles and in model files. These also hold it as a text
beside the model, with the settings of the model and the versions that wrote it.
"""

import json
import os
import textwrap
from hashlib import sha256

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted

from skphonon._settings import describe as describe_setting
from skphonon._settings import now, versions
from skphonon.persistence._archive import PROVENANCE, opened, read_text

__all__ = ["attach_card", "describe", "provenance", "read_provenance"]

_PACKAGES = ("scikit-learn", "numpy", "torch", "phonopy", "skops")
_FORMAT = {"format": "skphonon model", "format_version": 3}
_SHOWN = 8  # numbers of a list that `describe` spells out
_WIDTH = 88


def attach_card(estimator, *, simulator=None, X=None, y=None, scores=None, notes=None):
    """Attach a card to a fitted estimator: its settings, training set and scores.

    The card is a dict of numbers, text, lists and dicts, the attribute `model_card_`,
    which pickles, copies and model files keep and a clone does not. It holds the
    classes and parameters of the estimator and of its steps, the last losses of their
    training, and the versions of skphonon, Python and the packages that compute; and,
    of what is given here, the settings of the simulator, the axes of its grid, the
    shape and hash of the training set, the ranges of its labels, scores and notes.

    The card is not updated automatically: attach it after the last training.
    :func:`describe` says if the estimator was trained or changed afterwards.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator, such as a Pipeline. It gets the attribute `model_card_`.
    simulator : object, default=None
        Simulator of the training set.
    X : array-like of shape (n_samples, n_pixels), default=None
        Spectra of the training set.
    y : array-like of shape (n_samples, n_parameters), default=None
        Labels of the training set.
    scores : dict, default=None
        Scores by name: numbers, arrays, or dicts of them.
    notes : str, default=None
        Other information for users of the model: sample, instrument, licence, contact.

    Returns
    -------
    estimator
        The same object.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If scores are something else than numbers, text, arrays, lists and dicts, X or
        y are not numbers, or notes are not text.
    ValueError
        If X and y have different lengths.

    See Also
    --------
    describe : The card as text.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skphonon.persistence import attach_card
    >>> X, y = [[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0]
    >>> model = attach_card(Ridge().fit(X, y), X=X, y=y, scores={"R2": 0.9})
    >>> model.model_card_["training_set"]["X"]["shape"]
    [3, 1]
    """
    check_is_fitted(estimator)
    check_consistent_length(X, y)
    if not isinstance(notes, str | None):
        raise TypeError(f"notes must be a string, got {notes!r}.")
    names = getattr(simulator, "parameter_names", None)
    training_set = {
        "X": None if X is None else _array_record(X, "X"),
        "y": None if y is None else _label_record(y, names),
    }
    card = {
        "written": now(),
        "notes": notes,
        "model": _summary(estimator),
        "training_set": _known(training_set),
        "simulator": None if simulator is None else _told(simulator, "simulator"),
        "grid": _grid_record(getattr(simulator, "grid", None)),
        "scores": _plain(scores, "scores"),
        "versions": versions(_PACKAGES),
    }
    estimator.model_card_ = _known(card)
    return estimator


def describe(model):
    """Describe a model and its training as text.

    Of a file only a text is read, which says what :func:`save_model` knew; the model is
    not loaded, and nothing of the file is imported.

    Parameters
    ----------
    model : estimator or path-like
        Any scikit-learn estimator, or a file of :func:`save_model`. Without a card only
        classes, parameters and the last losses of the training are known.

    Returns
    -------
    str
        Lines of text.

    Raises
    ------
    ValueError
        If the file is none that :func:`save_model` wrote, or damaged.
    OSError
        If the file cannot be read.

    See Also
    --------
    attach_card : Attach a card with more information.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skphonon.persistence import describe
    >>> print(describe(Ridge(alpha=0.1).fit([[0.0], [1.0]], [0.0, 1.0])))
    No card was attached to this model.
    model
      class='sklearn.linear_model._ridge.Ridge'
      parameters
        alpha=0.1, copy_X=True, fit_intercept=True, max_iter=None, positive=False,
        random_state=None, solver='auto', tol=0.0001
      learned
        n_features=1
    """
    if not isinstance(model, str | os.PathLike):
        return "\n".join(_told_lines(vars(model).get("model_card_"), _summary(model)))
    with open(model, "rb") as file:
        try:
            with opened(file) as archive:
                about = read_provenance(archive)
            lines = _told_lines(about.get("card"), about["model"])
            lines += _lines({"file": about["file"]})
            if not "".join(lines).isprintable():  # it may steer a terminal
                raise ValueError("what it says cannot be printed")
            return "\n".join(lines)
        except OSError:
            raise
        except Exception as error:  # whatever damage makes of a zip file
            raise ValueError(
                f"{os.fspath(model)} must be a file of save_model that is whole; "
                f"{error}."
            ) from error


def provenance(estimator):
    """Return what is known of the making of a model that is written now."""
    card = vars(estimator).get("model_card_")
    return _known(
        {
            **_FORMAT,
            "file": {"written": now(), "versions": versions(_PACKAGES)},
            "model": _told(estimator, "model"),
            "card": _plain(card, "model_card_"),
        }
    )


def read_provenance(archive):
    """Return what `provenance` wrote; refuse what other programs and versions wrote."""
    about = read_text(archive, PROVENANCE)
    found = {name: about.get(name) for name in _FORMAT}
    if found != _FORMAT:
        raise ValueError(f"it is of the format {found}, not of {_FORMAT}")
    return about


def _told_lines(card, model):
    if card is None:
        return ["No card was attached to this model.", *_lines({"model": model})]
    lines = list(_lines(card))
    if json.dumps(card.get("model")) != json.dumps(model):
        lines = ["This model was changed after its card was written.", *lines]
        lines += _lines({"model now": model})
    return lines


def _summary(estimator):
    """Return class, parameters and course of training of an estimator and its parts."""
    parameters = estimator.get_params(deep=False)
    steps = parameters.pop("steps", ())
    parameters.pop("memory", None)  # where a pipeline works, not what it is
    summary = {
        "class": _full_name(type(estimator)),
        "steps": {name: _told(step, name) for name, step in steps},
        "parameters": {name: _told(value, name) for name, value in parameters.items()},
        "learned": _learned(estimator),
    }
    return {name: part for name, part in summary.items() if part}


def _learned(estimator):
    attributes = vars(estimator)
    left_out = getattr(estimator, "_transient", ())
    learned = {
        name: _summary(value)
        for name, value in attributes.items()
        if name.endswith("_") and isinstance(value, BaseEstimator)
        if name not in left_out  # torch nets, which histories speak for
    }
    if "n_features_in_" in attributes:
        learned["n_features"] = attributes["n_features_in_"]
    history = attributes.get("history_")
    if history is not None and len(history):
        learned["last_epoch"] = _plain(history.iloc[-1].dropna().to_dict(), "history_")
        learned["n_epochs"] = len(history)
    return learned


def _told(value, name):
    if isinstance(value, BaseEstimator):
        return _summary(value)
    try:
        return describe_setting(value, name)
    except TypeError:
        return _full_name(type(value))


def _array_record(values, name):
    array = np.ascontiguousarray(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be an array of numbers, got {array.dtype}.")
    return {
        "shape": list(np.shape(values)),
        "dtype": str(array.dtype),
        "sha256": sha256(array.data).hexdigest(),
    }


def _label_record(y, names):
    record = _array_record(y, "y")
    columns = np.asarray(y).reshape(len(y), -1)
    if names is None or len(names) != columns.shape[1]:
        names = map(str, range(columns.shape[1]))
    lowest, highest = columns.min(axis=0).tolist(), columns.max(axis=0).tolist()
    ends = zip(names, lowest, highest, strict=True)
    return {**record, "ranges": {name: [low, high] for name, low, high in ends}}


def _grid_record(grid):
    """Return the bins that other spectra must have, if the grid has axes."""
    if not hasattr(grid, "axes"):
        return None
    second = "two_theta" if hasattr(grid, "moduli") else "q"
    axes = zip(("energy", second), grid.axes(), strict=False)
    record = {name: np.asarray(axis).tolist() for name, axis in axes}
    settings = ("incident_energy", "two_theta", "n_pixels")
    return record | {k: _plain(getattr(grid, k, None), k) for k in settings}


def _plain(value, name):
    """Return a value as something that JSON holds, every number of it."""
    if hasattr(value, "to_dict"):  # pandas
        value = value.to_dict()
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(part, f"{name}[{n}]") for n, part in enumerate(value)]
    if isinstance(value, dict):
        return {str(key): _plain(v, f"{name}.{key}") for key, v in value.items()}
    raise TypeError(
        f"{name} must be a number, text, array, list or dict; got {value!r}."
    )


def _known(record):
    return {name: part for name, part in record.items() if part is not None}


def _lines(record, indent=""):
    """Yield the lines that spell out a nested dict."""
    plain = {name: v for name, v in record.items() if not isinstance(v, dict)}
    text = ", ".join(f"{name}={_short(value)}" for name, value in plain.items())
    yield from textwrap.wrap(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent
    )
    for name, part in record.items():
        if isinstance(part, dict) and part:
            yield f"{indent}{name}"
            yield from _lines(part, indent + "  ")


def _short(value):
    if isinstance(value, float):
        return f"{value:g}"
    if not isinstance(value, list):
        return repr(value)
    if len(value) > _SHOWN:
        return f"[{_short(value[0])} ... {_short(value[-1])}] ({len(value)} values)"
    return f"[{', '.join(map(_short, value))}]"


def _full_name(cls):
    return f"{cls.__module__}.{cls.__qualname__}"
