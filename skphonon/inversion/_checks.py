"""Checks of the settings of inverters, which say what must hold and what was given."""

from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_array

from skphonon.fitting import Knowledge, normal_rows
from skphonon.physics.priors import has_moments, mean_and_covariance

__all__ = [
    "check_background",
    "check_bounds",
    "check_errors",
    "check_intensities",
    "check_noise",
    "check_normalized",
    "check_pixel_errors",
    "check_widths",
    "joint_moments",
    "knowledge_of",
    "nuisance_bounds",
]


def nuisance_bounds(nuisance, known):
    """Return the bounds of each nuisance, those that a name stands for included."""
    bounds = {}
    for name, pair in nuisance.items():
        several = [each for each in known if each.startswith(f"{name} (")]
        meant = [name] if name in known else several
        if not meant:
            raise ValueError(
                f"nuisance must name what the simulator knows ({', '.join(known)}),"
                f" got {name!r}."
            )
        if np.shape(pair) != (2,) or not pair[0] < pair[1]:
            raise ValueError(
                f"nuisance {name!r} must have bounds (low, high), low below high; got "
                f"{pair!r}."
            )
        bounds.update(dict.fromkeys(meant, pair))
    return bounds


def check_background(given, n_axes, n_pixels):
    """Refuse what is neither a degree, nor degrees of all axes, nor terms."""
    degrees = np.shape(given) == (n_axes,) and all(
        isinstance(degree, Integral) and int(degree) >= 0 for degree in given
    )
    if np.ndim(given) and not degrees and np.shape(given)[1:] != (n_pixels,):
        raise ValueError(
            f"background must be a degree, {n_axes} degrees for as many axes, or "
            f"terms of shape (n_terms, {n_pixels}); got {given!r}."
        )


def check_normalized(background, contributions, loss, parts):
    """Refuse anything fitted along where spectra are normalised."""
    linear = background is not None and not np.array_equal(background, 0)
    if linear or contributions or loss != "linear" or len(parts) > 1:
        raise ValueError(
            "scale='normalized' compares single spectra with nothing fitted but "
            "the parameters, by squares; got a background, contributions, a loss "
            "or several spectra a row. Use scale='fitted'."
        )


def check_noise(X, errors, kind, scale):
    """Refuse errors where the fit has its own, and negative counts, NaN aside."""
    if kind != "poisson":
        if scale == "normalized":
            raise ValueError("errors need scale='fitted', got scale='normalized'.")
        return
    if errors is not None or scale == "normalized":
        raise ValueError(
            "noise='poisson' takes errors from the fit and counts as they are; got "
            "errors, or scale='normalized'. Use noise='noise' with errors."
        )
    lowest = np.nanmin(X, initial=0)
    if lowest < 0:
        raise ValueError(
            f"X must hold counts for noise='poisson', got {lowest:g}. Subtract "
            "no background: fit it along."
        )


def check_bounds(given, shape, start):
    """Return bounds of shape (2, n_parameters), between which the start is, if any."""
    low, high = given
    bounds = np.array(
        [np.broadcast_to(low, shape[1:]), np.broadcast_to(high, shape[1:])], float
    )
    if not (bounds[0] < bounds[1]).all():
        raise ValueError(
            "bounds must be (low, high), low below high for every parameter; got "
            f"{given!r}."
        )
    if start is not None and ((start < bounds[0]) | (start > bounds[1])).any():
        raise ValueError(
            f"bounds must include the start, {start}; got {bounds[0]} to "
            f"{bounds[1]}. Widen them, or start inside with initial."
        )
    return bounds


def knowledge_of(prior, names):
    """Return what is known of parameters beforehand, and mean and covariance of that.

    A prior is a normal distribution, a sequence of such and of observables, or None.
    Observables have no mean: where there is nothing else, neither has the prior.
    """
    if prior is None:
        return None, None
    pieces, moments = [], []
    for piece in pieces_of(prior):
        if hasattr(piece, "residuals"):
            own = list(piece.parameter_names)
            if own != names:
                raise ValueError(
                    "Observables of a prior must be of the parameters that are fitted, "
                    f"{', '.join(names)}, got {type(piece).__name__} of "
                    f"{', '.join(own)}. Give it the model of the simulator."
                )
            pieces.append(piece.residuals)
            continue
        check_widths(piece, names)
        moments.append(mean_and_covariance(piece, names))
        pieces.append(normal_rows(*moments[-1]))
    return Knowledge(pieces, len(names)), joint_moments(moments)


def pieces_of(prior):
    """Return the pieces of a prior: one, or several in a list."""
    if prior is None:
        return []
    pieces = [prior]
    if isinstance(prior, list | tuple):
        is_pair = len(prior) == 2 and not any(map(_is_knowledge, prior))
        if isinstance(prior, list):
            is_pair = is_pair and _is_row(prior[0])
        pieces = [prior] if is_pair else list(prior)
    for piece in pieces:
        if not _is_knowledge(piece) and not (
            isinstance(piece, list | tuple) and len(piece) == 2
        ):
            raise TypeError(
                "prior must be an object with mean_ and covariance_, such as "
                "ShellPrior, a pair (means, standard deviations) in the order of the "
                f"parameters, or a list of such and of observables; got {piece!r}."
            )
    return pieces


def _is_row(given):
    try:
        return np.ndim(given) == 1
    except ValueError:  # a pair of means and a covariance
        return False


def _is_knowledge(piece):
    return hasattr(piece, "residuals") or has_moments(piece)


def joint_moments(moments):
    """Return mean and covariance of what several normal distributions say together."""
    if len(moments) < 2:
        return moments[0] if moments else None
    precisions = [np.linalg.inv(covariance) for _, covariance in moments]
    covariance = np.linalg.inv(sum(precisions))
    pairs = zip(precisions, moments, strict=True)
    return covariance @ sum(each @ mean for each, (mean, _) in pairs), covariance


def check_widths(prior, names):
    """Refuse standard deviations of a prior that are not positive, by name."""
    if has_moments(prior):
        return
    spread = np.asarray(prior[1], dtype=float)
    if spread.shape != (len(names),) or (spread > 0).all():
        return
    bad = [f"{n} ({s:g})" for n, s in zip(names, spread, strict=True) if not s > 0]
    raise ValueError(
        "prior must have positive standard deviations, got some that are not: "
        f"{', '.join(bad)}. To hold a parameter fast give a small one, such as a "
        "thousandth of it."
    )


def check_errors(errors, shape):
    """Return a row of errors for each spectrum."""
    if np.ndim(errors) == 0:  # the same for all pixels
        errors = np.full(shape, float(errors))
    elif np.shape(errors) == shape[1:]:  # the same for all spectra
        errors = np.broadcast_to(np.asarray(errors, dtype=float), shape)
    errors = check_array(errors, dtype=float, ensure_all_finite="allow-nan")
    if errors.shape != shape:
        raise ValueError(
            f"errors must have the shape of X, ({shape[0]}, {shape[1]}), got "
            f"{errors.shape}."
        )
    if (errors <= 0).any():
        row, pixel = np.argwhere(errors <= 0)[0]
        raise ValueError(
            "errors must be positive, or NaN for pixels to leave out; got "
            f"{errors[row, pixel]:g} in row {row}, pixel {pixel}."
        )
    if np.isnan(errors).all(axis=1).any():
        row = np.isnan(errors).all(axis=1).argmax()
        raise ValueError(f"errors must not be NaN throughout, as in row {row}.")
    return errors


def check_intensities(y, loss):
    """Refuse negative intensities where the loss of PixelInverter knows none."""
    if loss != "chi2" and (y < 0).any():
        raise ValueError(
            f"Intensities must not be negative with loss={loss!r}, got "
            f"{(y < 0).sum()} of {len(y)} below zero, the least {y.min():g}. Clip "
            "them at zero, or use loss='chi2'."
        )


def check_pixel_errors(errors, n_pixels, loss):
    """Return the error of each intensity of PixelInverter."""
    errors = np.asarray(errors, dtype=float)
    fits = loss == "chi2" and errors.shape == (n_pixels,)
    if not fits or not (errors > 0).all():
        raise ValueError(
            f"errors must be positive, one for each of {n_pixels} intensities, and "
            f"need loss='chi2'; got loss={loss!r} and shape {errors.shape} "
            f"with {(~(errors > 0)).sum()} that are not positive."
        )
    return errors
