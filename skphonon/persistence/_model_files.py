"""Model files: arrays and text, which are read without running anything of them.

A pickle, which is what joblib writes, runs whatever its author put in: it is for files
of your own. The file of :func:`save_model` can name the classes of a fixed list,
`TRUSTED_TYPES`, and the attributes of their instances, no more. :func:`load_model`
makes such an instance and hands it the attributes, as unpickling does.
"""

import json
from collections import OrderedDict
from importlib import import_module
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from skphonon._files import write_whole
from skphonon._version import __version__
from skphonon._versioned import Immutable
from skphonon.persistence._tensor_file import can_hold, from_bytes, read_json, to_bytes

__all__ = ["TRUSTED_TYPES", "load_model", "save_model"]

TRUSTED_TYPES = {
    "AEFeatureExtractor": "skphonon",
    "AngleGrid": "skphonon.instrument",
    "CalibratedRegressor": "skphonon.calibration",
    "CrystalGrid": "skphonon",
    "ForceConstantModel": "skphonon",
    "ForceConstantRegressor": "skphonon",
    "GappySpectrumExtractor": "skphonon.learning",
    "ImplicitSpectrumModel": "skphonon",
    "MaskedSpectrumPreprocessor": "skphonon",
    "PathGrid": "skphonon",
    "PolynomialResolution": "skphonon.instrument",
    "PowderSimulator": "skphonon",
    "QResolution": "skphonon.instrument",
    "Reduction": "skphonon.physics",
    "Scattering": "skphonon.simulation",
    "SingleCrystalSimulator": "skphonon",
    "SpectrumGrid": "skphonon",
    "SpectrumRegressor": "skphonon",
    "SpinWaveModel": "skphonon",
    "SpinWaveSimulator": "skphonon",
    "TabulatedResolution": "skphonon.instrument",
    "Trainer": "skphonon.learning",
    "VAEFeatureExtractor": "skphonon",
    "FrozenEstimator": "sklearn.frozen",
    "LinearRegression": "sklearn.linear_model",
    "PCA": "sklearn.decomposition",
    "Pipeline": "sklearn.pipeline",
    "Ridge": "sklearn.linear_model",
    "StandardScaler": "sklearn.preprocessing",
    "TransformedTargetRegressor": "sklearn.compose",
}
"""Classes, by name and module, whose instances a model file may hold."""

_KINDS = BaseEstimator, Immutable
_FORMAT = "skphonon model"
_FORMAT_VERSION = 2
_PICKLES = b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"  # protocol 2 to 5
_NAMES_OF_PICKLES = ".joblib", ".pickle", ".pkl"  # compressed ones begin otherwise
# What estimators and numpy raise when they are given nonsense for a state.
_NONSENSE = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError)


def save_model(estimator, path, *, overwrite=False, trusted=()):
    """Write a model to a file that others can load without trusting it.

    The file is in the safetensors layout: weights as arrays, the rest as JSON. It is
    there in full or, should anything stop the writing, not at all. The cache folder of
    a pipeline (`memory`) is left out.

    Parameters
    ----------
    estimator : estimator
        Of a class in `TRUSTED_TYPES` or `trusted`, and so all that it is made of. The
        best of a search is its `best_estimator_`.
    path : path-like
        File to write; the ending ``.safetensors`` lets other programs know the layout.
    overwrite : bool, default=False
        Whether to replace a file that is there.
    trusted : sequence of class, default=()
        Estimators of your own that the model is made of; :func:`load_model` then has
        to be given them too.

    Raises
    ------
    TypeError
        If the model holds something that such a file cannot: a function, an object of
        another class, a random number generator.
    FileExistsError
        If the file is there, and `overwrite` is not true.
    OSError
        If the file cannot be written.

    See Also
    --------
    load_model : Read it.
    attach_card : Tell what the model was trained with.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.linear_model import Ridge
    >>> from skphonon.persistence import load_model, save_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "line.safetensors"
    ...     save_model(Ridge(alpha=0.0).fit([[0.0], [1.0]], [0.0, 1.0]), path)
    ...     model = load_model(path)
    >>> float(model.predict([[0.5]])[0])
    0.5
    """
    arrays: dict[str, np.ndarray] = {}
    path = Path(path)
    if not isinstance(estimator, _KINDS):
        raise TypeError(f"estimator must be an estimator, got {estimator!r}.")
    code = _encode(estimator, type(estimator).__name__, arrays, _by_name(trusted))
    texts = {
        "format": _FORMAT,
        "format_version": str(_FORMAT_VERSION),
        "skphonon": __version__,
        "model": json.dumps(code),
    }
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} is there already. Choose another name, or pass overwrite=True."
        )
    write_whole(path, to_bytes(arrays, texts))


def load_model(path, *, trusted=()):
    """Read a model that :func:`save_model` wrote; nothing in the file is run.

    Parameters
    ----------
    path : path-like
        The file.
    trusted : sequence of class, default=()
        Estimators that the file may hold besides `TRUSTED_TYPES`.

    Returns
    -------
    estimator
        The model, on the CPU where its device is not to be had here.

    Raises
    ------
    ValueError
        If the file is truncated, damaged, something else than a model, of a newer
        format, or holds a class that is not trusted; the message says which.
    OSError
        If the file cannot be read.

    Warns
    -----
    VersionMismatchWarning
        If other versions of skphonon or scikit-learn wrote the model.

    See Also
    --------
    save_model : Write it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.linear_model import Ridge
    >>> from skphonon.persistence import load_model, save_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "line.safetensors"
    ...     save_model(Ridge(alpha=2.0).fit([[0.0], [1.0]], [0.0, 1.0]), path)
    ...     load_model(path)
    Ridge(alpha=2.0)
    """
    extra, content = _by_name(trusted), Path(path).read_bytes()
    try:
        arrays, texts = from_bytes(content)
    except ValueError as error:
        raise ValueError(_not_whole(path, content, error)) from error
    _check_format(path, texts)
    try:
        model = _build(texts, arrays, extra)
    except ValueError as error:
        written_by = texts.get("skphonon")
        others = f" It was written by skphonon {written_by}, this is {__version__}."
        raise ValueError(
            f"{path} holds no model that can be built here: {error}."
            + (written_by not in (None, __version__)) * others
        ) from error
    if not isinstance(model, _KINDS):
        raise ValueError(f"{path} must hold an estimator, got {type(model).__name__}.")
    return model


def _not_whole(path, content, error):
    if content.startswith(_PICKLES) or Path(path).suffix in _NAMES_OF_PICKLES:
        return (
            f"{path} must be a file of save_model, and looks like a pickle, as "
            "joblib.dump writes it. A pickle runs whatever its author put in: read it "
            "with joblib.load if you trust that person."
        )
    return (
        f"{path} is not a whole model file: {error}. Get it again from where it "
        "comes from."
    )


def _build(texts, arrays, extra):
    try:
        return _decode(read_json(texts["model"]), arrays, extra)
    except _NONSENSE as error:  # not to be printed: it may hold half an estimator
        raise ValueError(f"{type(error).__name__} in what it says it is") from error


def _check_format(path, texts):
    if texts.get("format") != _FORMAT:
        raise ValueError(
            f"{path} must be a file of save_model; it is a safetensors file of "
            f"{texts.get('format')!r}."
        )
    if texts.get("format_version") != str(_FORMAT_VERSION):
        raise ValueError(
            f"{path} has version {texts.get('format_version')} of the format, made by "
            f"skphonon {texts.get('skphonon')}; skphonon {__version__} reads version "
            f"{_FORMAT_VERSION}. Load it with the version that made it, or train the "
            "model again."
        )


def _encode(value, name, arrays, extra):
    """Return a value as JSON, its numbers in `arrays`.

    Lists and plain values stand for themselves. Everything else is an object of one
    entry, whose name is the kind: tuple, dict (keys are strings), items (any keys),
    array (rows first), fortran (columns first), scalar (of numpy), text (names in an
    array of objects) or instance.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) in (np.ndarray, np.memmap) or isinstance(value, np.generic):
        return _encode_array(value, name, arrays)
    if type(value) in (list, tuple):
        parts = [_encode(v, f"{name}.{n}", arrays, extra) for n, v in enumerate(value)]
        return parts if type(value) is list else {"tuple": parts}
    if type(value) in (dict, OrderedDict):
        return _encode_dict(value, name, arrays, extra)
    if isinstance(value, _KINDS) and _is_trusted(type(value), extra):
        state = _without_cache(type(value), value.__getstate__())
        code = _encode_dict(state, name, arrays, extra)
        return {"instance": [type(value).__name__, code]}
    raise _not_storable(value, name)


def _encode_dict(value, name, arrays, extra):
    parts = {k: _encode(v, f"{name}.{k}", arrays, extra) for k, v in value.items()}
    if all(type(key) is str for key in parts):
        return {"dict": parts}
    keys = (_encode(key, f"{name}.keys", arrays, extra) for key in parts)
    return {"items": [list(item) for item in zip(keys, parts.values(), strict=True)]}


def _encode_array(value, name, arrays):
    array = np.asarray(value)
    if array.dtype == object and array.ndim == 1:
        words = array.tolist()
        if all(type(word) is str for word in words):
            return {"text": words}
    if not can_hold(array):
        raise _not_storable(value, name)
    while name in arrays:  # keys with dots in them
        name += "'"
    # Sums over columns may round otherwise than sums over rows.
    is_fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    arrays[name] = array.T if is_fortran else array
    if isinstance(value, np.generic):
        return {"scalar": name}
    return {"fortran" if is_fortran else "array": name}


def _decode(code, arrays, extra):
    """Return what `_encode` was given; an array serves once."""
    if isinstance(code, list):
        return [_decode(part, arrays, extra) for part in code]
    if not isinstance(code, dict):
        return code
    ((kind, content),) = code.items()
    match kind:
        case "tuple":
            return tuple(_decode(part, arrays, extra) for part in content)
        case "dict":
            return {key: _decode(v, arrays, extra) for key, v in content.items()}
        case "items":
            return dict(_decode(pair, arrays, extra) for pair in content)
        case "array":
            return arrays.pop(content)
        case "fortran":
            return arrays.pop(content).T
        case "scalar":
            return arrays.pop(content)[()]
        case "text":
            return np.array(content, dtype=object)
        case "instance":
            name, state = content
            return _rebuild(name, _decode(state, arrays, extra), extra)
    raise ValueError(f"it holds something of the unknown kind {kind!r}")


def _rebuild(name, state, extra):
    cls = _find_class(name, extra)
    if cls is None:
        raise ValueError(
            f"the class {name!r} is not trusted. Where you know it to be harmless, "
            "pass it in trusted"
        )
    instance = cls.__new__(cls)
    instance.__setstate__(_without_cache(cls, state))
    return instance


def _without_cache(cls, state):
    """Leave out a pipeline's cache, a folder of pickles on someone's computer."""
    return {**state, "memory": None} if issubclass(cls, Pipeline) else state


def _by_name(classes):
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, _KINDS)):
            raise TypeError(f"trusted must list classes of estimators, got {cls!r}.")
    return {cls.__name__: cls for cls in classes}


def _is_trusted(cls, extra):
    return _find_class(cls.__name__, extra) is cls


def _find_class(name, extra):
    """Return the class that goes by this name in a file, or None."""
    if name in extra or name not in TRUSTED_TYPES:
        return extra.get(name)
    return getattr(import_module(TRUSTED_TYPES[name]), name)


def _not_storable(value, name):
    cls = type(value)
    return TypeError(
        "A model file holds numbers, text and arrays in estimators of trusted types; "
        f"{name} is a {cls.__module__}.{cls.__qualname__}. {_instead(value)} "
        "joblib.dump makes files of anything, which stay in your group."
    )


def _instead(value):
    if hasattr(value, "best_estimator_"):
        return "Save the best_estimator_ of the search."
    if isinstance(value, np.random.RandomState | np.random.Generator):
        return "Set random_state to an int."
    if hasattr(value, "simulator") or hasattr(value, "inverter"):
        return (
            f"A {type(value).__name__} learns little from data: save its simulator, "
            "and make it again where it is needed."
        )
    if isinstance(value, _KINDS):
        return f"If it is yours, pass the class: trusted=[{type(value).__name__}]."
    return "Replace it by something that such a file holds, or leave it out."
