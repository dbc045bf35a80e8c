"""Model files: arrays and text, which are read without running anything of them.

A pickle, which is what joblib writes, runs whatever its author put in: it is for files
of your own. The file of :func:`save_model` is one of skops that can name the classes
of a fixed list, `TRUSTED_TYPES`, and the attributes of their instances, no more.
"""

from collections import OrderedDict
from collections.abc import Mapping
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from skphonon._files import write_whole
from skphonon._version import __version__
from skphonon._versioned import Immutable, without_results
from skphonon.persistence._archive import (
    MARKS,
    SCHEMA,
    check,
    opened,
    packed,
    read_text,
)
from skphonon.persistence._model_cards import provenance, read_provenance
from skphonon.physics.priors import has_moments

__all__ = ["TRUSTED_TYPES", "load_model", "save_model"]

TRUSTED_TYPES = (
    "skphonon.calibration.CalibratedRegressor",
    "skphonon.instrument.AngleGrid",
    "skphonon.instrument.CrystalGrid",
    "skphonon.instrument.Measurement",
    "skphonon.instrument.PathGrid",
    "skphonon.instrument.PolynomialResolution",
    "skphonon.instrument.QResolution",
    "skphonon.instrument.SpectrumGrid",
    "skphonon.instrument.TabulatedResolution",
    "skphonon.inversion.ElasticConstants",
    "skphonon.inversion.HeatCapacity",
    "skphonon.inversion.LeastSquaresInverter",
    "skphonon.inversion.MeanSquareDisplacement",
    "skphonon.inversion.NelderMeadInverter",
    "skphonon.inversion.Noise",
    "skphonon.inversion.PhononEnergies",
    "skphonon.inversion.PixelInverter",
    "skphonon.inversion.PosteriorInverter",
    "skphonon.inversion.Search",
    "skphonon.inversion.SoundVelocities",
    "skphonon.inversion._emulator.Emulator",
    "skphonon.inversion._emulator.LogPlane",
    "skphonon.learning.AEFeatureExtractor",
    "skphonon.learning.Augmentation",
    "skphonon.learning.Convolutional",
    "skphonon.learning.Dense",
    "skphonon.learning.ForceConstantRegressor",
    "skphonon.learning.ImplicitSpectrumModel",
    "skphonon.learning.NoveltyDetector",
    "skphonon.learning.PosteriorInference",
    "skphonon.learning.SpectrumRegressor",
    "skphonon.learning.Trainer",
    "skphonon.learning.VAEFeatureExtractor",
    "skphonon.physics.ForceConstantModel",
    "skphonon.physics.Reduction",
    "skphonon.physics.ShellPrior",
    "skphonon.physics.SpinWaveModel",
    "skphonon.preprocessing.MaskedSpectrumPreprocessor",
    "skphonon.simulation.ElasticTail",
    "skphonon.simulation.JointSimulator",
    "skphonon.simulation.MultipleScattering",
    "skphonon.simulation.PowderSimulator",
    "skphonon.simulation.Scattering",
    "skphonon.simulation.SingleCrystalSimulator",
    "skphonon.simulation.SpinWaveSimulator",
    "sklearn.compose.TransformedTargetRegressor",
    "sklearn.decomposition.PCA",
    "sklearn.frozen.FrozenEstimator",
    "sklearn.linear_model.LinearRegression",
    "sklearn.linear_model.Ridge",
    "sklearn.pipeline.Pipeline",
    "sklearn.preprocessing.PolynomialFeatures",
    "sklearn.preprocessing.StandardScaler",
)
"""Full names of the classes whose instances a model file may hold."""

_KINDS = BaseEstimator, Immutable
_ARRAYS = {"numpy.memmap": "numpy.ndarray"}
_PASSED = OSError, Warning  # what reading raises of its own
_PICKLES = b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"  # protocol 2 to 5
_NAMES_OF_PICKLES = ".joblib", ".pickle", ".pkl"  # compressed ones begin otherwise


def save_model(estimator, path, *, overwrite=False, trusted=()):
    """Write a model to a file that others can load without trusting it.

    The file is one of skops: weights as arrays, the rest as text. It tells what made
    the model (:func:`describe` reads that without loading it), and is there in full
    or, should anything stop the writing, not at all. The cache folder of a pipeline
    (`memory`) and what inverters keep of their last `predict` are left out.

    Parameters
    ----------
    estimator : estimator
        Of a class in `TRUSTED_TYPES` or `trusted`, and so all that it is made of. The
        best of a search is its `best_estimator_`.
    path : path-like
        File to write; its name usually ends in ``.skops``.
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
    ValueError
        If it holds more than a million numbers and texts outside arrays.
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
    ...     path = Path(folder) / "line.skops"
    ...     save_model(Ridge(alpha=0.0).fit([[0.0], [1.0]], [0.0, 1.0]), path)
    ...     model = load_model(path)
    >>> float(model.predict([[0.5]])[0])
    0.5
    """
    path = Path(path)
    if path.suffix.lower() in (*_NAMES_OF_PICKLES, ".safetensors", ".pt", ".h5"):
        raise ValueError(
            f"A model file has the ending .skops, got {path.name}, which is another "
            "format."
        )
    if not isinstance(estimator, _KINDS):
        raise TypeError(f"estimator must be an estimator, got {estimator!r}.")
    extra = _by_name(trusted)
    with without_results():
        names = _names(estimator, extra)
        from skops import io  # takes a second: it imports all of scikit-learn

        content = packed(io.dumps(estimator), names, provenance(estimator))
    with opened(BytesIO(content)) as archive:  # what cannot be read is not written
        check(read_text(archive, SCHEMA), names.values())
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} is there already. Choose another name, or pass overwrite=True."
        )
    write_whole(path, content)


def load_model(path, *, trusted=()):
    """Read a model that :func:`save_model` wrote; nothing in the file is run.

    Classes that are not trusted are neither imported nor made.

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
        If the file is truncated, damaged, something else than a model, or holds a class
        that is not trusted; the message says which.
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
    ...     path = Path(folder) / "line.skops"
    ...     save_model(Ridge(alpha=2.0).fit([[0.0], [1.0]], [0.0, 1.0]), path)
    ...     load_model(path)
    Ridge(alpha=2.0)
    """
    extra, content = _by_name(trusted), Path(path).read_bytes()
    _refuse_other_kinds(path, content)
    try:
        with opened(BytesIO(content)) as archive:
            about, schema = read_provenance(archive), read_text(archive, SCHEMA)
    except _PASSED:
        raise
    except Exception as error:  # whatever damage makes of a zip file
        raise ValueError(
            f"{path} is not a whole model file: {_said(error)}. Get it again from "
            "where it comes from."
        ) from error
    try:
        names = [*TRUSTED_TYPES, *extra]
        check(schema, names)
        from skops import io  # takes a second: it imports all of scikit-learn

        model = io.loads(content, trusted=names)
    except _PASSED:
        raise
    except Exception as error:  # whatever estimators make of nonsense
        written_by = about["file"]["versions"].get("skphonon")
        others = f" It was written by skphonon {written_by}, this is {__version__}."
        raise ValueError(
            f"{path} holds no model that can be built here: {_said(error)}."
            + (written_by != __version__) * others
        ) from error
    if not isinstance(model, _KINDS):
        raise ValueError(f"{path} must hold an estimator, got {type(model).__name__}.")
    return model


def _said(error):
    """Return what is wrong; other errors may try to print half an estimator."""
    if isinstance(error, ValueError | BadZipFile):
        return str(error)
    return f"{type(error).__name__} in what it says it is"


def _refuse_other_kinds(path, content):
    if content.startswith(_PICKLES) or Path(path).suffix in _NAMES_OF_PICKLES:
        raise ValueError(
            f"{path} must be a file of save_model, and looks like a pickle, as "
            "joblib.dump writes it. A pickle runs whatever its author put in: read it "
            "with joblib.load if you trust that person."
        )
    if content[8:10] == b'{"':
        raise ValueError(
            f"{path} must be a skops file, and looks like a safetensors file, which "
            "save_model wrote before. Load it with the version that wrote it and save "
            f"it again, with joblib.dump, which skphonon {__version__} reads unless "
            "that version was 0.1; or train the model again."
        )


def _names(estimator, extra):
    """Check that a file can hold an estimator; return names of classes in files."""
    found: dict[int, object] = {}
    _check_storable(estimator, type(estimator).__name__, extra, found)
    classes = {type(each) for each in found.values()}
    names = {_full_name(cls): _offered_as(cls, extra) for cls in classes}
    return {private: name for private, name in names.items() if name} | _ARRAYS


def _check_storable(value, name, extra, found):
    """Raise a TypeError that names what a file cannot hold as it is."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str) or id(value) in found:
        return
    found[id(value)] = value  # kept, so that no other object gets its id
    parts: Mapping[Any, Any] = {}
    if kind in (list, tuple):
        parts = dict(enumerate(value))
    elif kind in (dict, OrderedDict) and _can_be_keys(value):
        parts = value
    elif _offered_as(kind, extra):
        parts = value.__getstate__()
        if issubclass(kind, Pipeline):
            parts = {**parts, "memory": None}
    elif not _is_numbers(value):
        raise _not_storable(value, name)
    for key, part in parts.items():
        _check_storable(part, f"{name}.{key}", extra, found)


def _can_be_keys(keys):
    """Tell whether keys of a dict are not to be confused as text."""
    plain = all(type(k) in (str, int, float) and k not in MARKS for k in keys)
    return plain and len(set(map(str, keys))) == len(keys)


def _is_numbers(value):
    if type(value) not in (np.ndarray, np.memmap):
        return isinstance(value, np.number | np.bool_)
    if value.dtype.hasobject:
        return value.ndim == 1 and all(type(word) is str for word in value)
    return True


def _by_name(classes):
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, _KINDS)):
            raise TypeError(f"trusted must list classes of estimators, got {cls!r}.")
    return {_full_name(cls): cls for cls in classes}


def _offered_as(cls, extra):
    """Return the name that leads to a class in files, None if it is not trusted."""
    names = [n for n in TRUSTED_TYPES if n.endswith(f".{cls.__name__}")]
    names += [n for n in extra if n == _full_name(cls)]
    return next((name for name in names if _is_at(name, cls)), None)


def _is_at(full_name, cls):
    module, _, name = full_name.rpartition(".")
    return getattr(import_module(module), name, None) is cls


def _full_name(cls):
    return f"{cls.__module__}.{cls.__name__}"


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
    if has_moments(value):
        return "Give its mean_ and covariance_ in its place, as a pair."
    if isinstance(value, _KINDS):
        return f"If it is yours, pass the class: trusted=[{type(value).__name__}]."
    return "Replace it by something that such a file holds, or leave it out."
