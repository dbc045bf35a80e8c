"""Input checks shared by estimators, grids and simulators.

The only module that touches private scikit-learn names: ``_fit_context`` (which
runs ``_parameter_constraints`` before ``fit``) and the constraint vocabulary. Errors
that scikit-learn words for tables are worded for spectra here. All raise ValueError.
"""

import inspect
import numbers

import numpy as np
from sklearn.base import _fit_context as fit_context
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.validation import check_array, validate_data

__all__ = [
    "ROWS_ARE_PIXELS",
    "HasMethods",
    "Interval",
    "StrOptions",
    "at_least",
    "check_box",
    "check_columns",
    "check_parameters",
    "check_parts",
    "finite_rows",
    "fit_context",
    "gives_std",
    "how_to_pass_images",
    "increasing_axis",
    "is_number",
    "parameter_rows",
    "positive",
    "reference_row",
    "steps_of",
    "validate_parameter_constraints",
    "validate_spectra",
    "wavevector_rows",
]

ROWS_ARE_PIXELS = "Leave out the rows, which are pixels, where a value is missing."


def at_least(minimum, kind=numbers.Integral):
    """Return the constraint of a number of the given kind, not below `minimum`."""
    return Interval(kind, minimum, None, closed="left")


def positive(kind=numbers.Real):
    """Return the constraint of a number of the given kind, above zero."""
    return Interval(kind, 0, None, closed="neither")


def check_parameters(estimator):
    """Hold an object without `fit` against its `_parameter_constraints`."""
    constraints = estimator._parameter_constraints
    validate_parameter_constraints(
        constraints,
        {name: getattr(estimator, name) for name in constraints},
        caller_name=type(estimator).__name__,
    )


def check_parts(estimator):
    """Do so with the small estimators that parameters are, or stand for."""
    for name in estimator._shortcuts:
        part = estimator._part(name)
        if hasattr(part, "_parameter_constraints"):  # else a name without settings
            check_parameters(part)


def steps_of(estimator):
    """Return the steps of a pipeline in a list, those of pipelines within it too."""
    within = estimator
    while isinstance(within, FrozenEstimator):
        within = within.estimator
    if not isinstance(within, Pipeline):
        return [estimator]
    steps = [step for _, step in within.steps if step not in (None, "passthrough")]
    return [part for step in steps for part in steps_of(step)]


def gives_std(estimator):
    """Tell whether the last step of an estimator predicts standard deviations."""
    while hasattr(estimator, "steps"):
        estimator = estimator[-1]
    return "return_std" in inspect.signature(estimator.predict).parameters


def validate_spectra(estimator, *args, remedy="", **options):
    """Validate the data of an estimator as scikit-learn does, with errors that help.

    Measurements are refused with a TypeError. The error for an image, or a stack of
    images, tells how spectra are passed; that for NaN ends with `remedy`.
    """
    if hasattr(args[0], "grid") and hasattr(args[0], "data"):  # a measurement
        raise TypeError(
            f"{type(estimator).__name__} takes spectra, one a row, got a "
            f"{type(args[0]).__name__}. Pass its data (and errors=measured.error where "
            "errors are taken)."
        )
    try:
        return validate_data(estimator, *args, **options)
    except ValueError as error:
        message = str(error)
        if message.startswith("Input X contains NaN"):
            X = check_array(args[0], dtype=float, ensure_all_finite=False)
            rows = np.isnan(X).any(axis=1)
            message = (
                f"Input X contains NaN in {rows.sum()} of {len(rows)} rows (first: row "
                f"{rows.argmax()}), and {type(estimator).__name__} takes none."
            )
            raise ValueError(f"{message} {remedy}".rstrip()) from None
        if remedy == ROWS_ARE_PIXELS:
            raise
        n_pixels = None
        if not options.get("reset", True):
            n_pixels = getattr(estimator, "n_features_in_", None)
        advice = how_to_pass_images(np.shape(args[0]), n_pixels)
        if not advice:
            raise
        raise ValueError(f"{message} {advice}") from error


def how_to_pass_images(shape, n_pixels):
    """Return advice on images that should be rows; empty if they are none."""
    if len(shape) > 1 and shape[-1] != n_pixels and np.prod(shape) == n_pixels:
        return (
            f"X has the shape of one image, {' by '.join(map(str, shape))} pixels: "
            "pass one spectrum a row, as grid.to_rows(X) or X.reshape(1, -1) gives it."
        )
    if len(shape) > 2:
        return (
            f"X has shape {shape}, that of images: pass one spectrum a row, as "
            "grid.to_rows(X) or X.reshape(len(X), -1) gives them."
        )
    return ""


def increasing_axis(values, name):
    """Return bin centres as a float64 axis, or say why they cannot be one."""
    axis = np.asarray(values, dtype=float)
    if axis.ndim != 1 or axis.size == 0:
        raise ValueError(
            f"{name} must be a non-empty one-dimensional array of bin centres, "
            f"got shape {axis.shape}."
        )
    if not np.isfinite(axis).all():
        raise ValueError(
            f"{name} must be finite, got {int((~np.isfinite(axis)).sum())} NaN or "
            f"infinite values of {axis.size}."
        )
    steps = np.diff(axis)
    if (steps <= 0).any():
        first = int(np.argmax(steps <= 0))
        raise ValueError(
            f"{name} must be strictly increasing, got {axis[first]:g} followed by "
            f"{axis[first + 1]:g} at position {first}. Sort the axis and the "
            "spectra along with it."
        )
    return axis


def is_number(value, kind=numbers.Real):
    """Tell whether a value is a number of that kind, and not True or False."""
    return isinstance(value, kind) and not isinstance(value, bool)


def positive_number(value, name, unit, *, or_zero=False):
    """Return a positive number as float, or None of None."""
    if value is None:
        return None
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not (number and (0 < float(value) < np.inf or (or_zero and value == 0))):
        raise ValueError(f"{name} must be a positive number in {unit}, got {value!r}.")
    return float(value)


def angle_pair(values, name):
    """Return the smallest and the largest angle, in degrees, as floats."""
    try:
        low, high = (float(value) for value in values)
    except (TypeError, ValueError):
        low = high = np.nan
    if not low < high:
        raise ValueError(
            f"{name} must hold two increasing angles in degrees, got {values!r}."
        )
    return low, high


def check_box(box, names, advice=""):
    """Return bounds of parameters, (2, n_parameters), refusing what are none."""
    if box.shape != (2, len(names)) or not (box[1] > box[0]).all():
        raise ValueError(
            "bounds must hold least and largest values, the latter above, of "
            f"{', '.join(names)}; got {box.tolist()}.{advice}"
        )
    return box


def check_columns(table, names):
    """Refuse a table of pandas whose columns name other parameters."""
    labels = getattr(table, "columns", getattr(table, "index", None))
    if labels is None or callable(labels):  # a list has a method of that name
        return
    found = list(labels)
    named = bool(found) and all(isinstance(label, str) for label in found)
    if named and found != list(names):
        raise ValueError(
            f"parameters must be named {', '.join(names)}, in this order, as the model "
            f"has them; got a table of {', '.join(found)}. Choose its columns by name, "
            "table[model.parameter_names]; if the names are your own, pass "
            "table.to_numpy()."
        )


def reference_row(model):
    """Return the reference values of a model, or say that it lacks them."""
    names, reference = model.parameter_names, model.reference
    given = "None"
    if reference is not None:
        check_columns(reference, names)
        row = np.asarray(reference, dtype=float)
        if row.shape == (len(names),) and np.isfinite(row).all():
            return row
        given = f"shape {row.shape}"
        if row.shape == (len(names),):
            given = f"{(~np.isfinite(row)).sum()} values that are not finite"
    raise ValueError(
        f"The model must have reference values, {len(names)} finite ones, of "
        f"{', '.join(names)}; got {given}. Set them with "
        "model.replace(reference=[...])."
    )


def parameter_rows(parameters, names, what="parameters"):
    """Return `parameters` as a float64 array with one row a parameter set."""
    check_columns(parameters, names)
    rows = np.atleast_2d(np.asarray(parameters, dtype=float))
    if rows.ndim != 2 or rows.shape[1] != len(names):
        raise ValueError(
            f"{what} must have shape (n_samples, {len(names)}), one column each of "
            f"{', '.join(names)}; got shape {np.shape(parameters)}."
        )
    if rows.shape[0] == 0:
        raise ValueError(f"{what} must hold at least one row, got none.")
    return finite_rows(rows, what)


def wavevector_rows(wavevectors):
    """Return `wavevectors` as a float64 array with one row a wavevector."""
    rows = np.asarray(wavevectors, dtype=float)
    if rows.ndim != 2 or rows.shape[1] != 3 or not len(rows):
        raise ValueError(
            "wavevectors must have shape (n_q, 3), with h, k and l in rows; got shape "
            f"{rows.shape}."
        )
    return finite_rows(rows, "wavevectors")


def finite_rows(rows, name):
    """Return rows that have neither NaN nor infinity, or say which have."""
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if bad.size:
        raise ValueError(
            f"{name} must be finite, got NaN or infinity in {bad.size} of {len(rows)} "
            f"rows (first: row {bad[0]})."
        )
    return rows
