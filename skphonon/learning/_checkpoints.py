"""Files from which a training that was killed goes on."""

import pickle
from io import BytesIO
from numbers import Integral
from os import PathLike
from pathlib import Path
from zipfile import BadZipFile, ZipFile, is_zipfile

import joblib
import torch
from skorch.callbacks import Callback

from skphonon._files import write_whole

__all__ = ["ResumableCheckpoint", "identity_of", "read_state", "write_state"]

_FORMAT = "skphonon training 1"


class ResumableCheckpoint(Callback):
    """Save a training now and then, and go on from there if it was killed.

    Give one to the `callbacks` of a :class:`~skphonon.learning.Trainer`. `fit` with the
    same data, settings and `random_state` then begins where the file ends, and ends
    with the same weights as if nothing had happened. The file stays when training is
    done, and another `fit` takes its weights from it.

    Parameters
    ----------
    path : str or path-like
        File of one training, written whole or not at all.
    every : int, default=1
        Epochs from one saving to the next.

    Notes
    -----
    Weights, optimizer, random numbers, patience, history and schedules of the trainer
    go on exactly. Other callbacks begin anew: an ``EarlyStopping`` waits again, and so
    do schedules that count batches. `random_state` must be a number.

    Examples
    --------
    >>> from skphonon.learning import ResumableCheckpoint, Trainer, VAEFeatureExtractor
    >>> trainer = Trainer(callbacks=[ResumableCheckpoint("vae.pt", every=10)])
    >>> extractor = VAEFeatureExtractor(trainer=trainer, random_state=0)
    """

    def __init__(self, path, every=1):
        self.path = path
        self.every = every


def read_state(checkpoint, identity):
    """Return the saved state of a training, None without a file.

    Raises
    ------
    ValueError
        If the file is of another training, or no such file.
    OSError
        If it cannot be read.
    """
    path, every = checkpoint.path, checkpoint.every
    if not isinstance(path, (str, PathLike)):
        raise TypeError(f"path of ResumableCheckpoint must be a path, got {path!r}.")
    if not isinstance(every, Integral) or every < 1:
        raise ValueError(
            f"every of ResumableCheckpoint must be a number of epochs, got {every!r}."
        )
    path = Path(path)
    if not path.exists():
        return None
    if not is_zipfile(path):
        raise ValueError(_advice(path, "which is none of a training"))
    with ZipFile(path) as archive:
        try:
            damaged = archive.testzip()
        except (BadZipFile, EOFError, NotImplementedError, RuntimeError):
            damaged = "all of it"
    if damaged is not None:
        raise ValueError(_advice(path, f"which is damaged ({damaged})"))
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, LookupError, pickle.UnpicklingError) as error:
        raise ValueError(_advice(path, "which is none of a training")) from error
    if not isinstance(saved, dict) or saved.get("format") != _FORMAT:
        raise ValueError(_advice(path, "which is none of a training"))
    if saved["identity"] != identity:
        other = "which is of another training: data, settings or random_state differ"
        raise ValueError(_advice(path, other))
    return saved


def write_state(checkpoint, epoch, identity, state):
    """Save the state of a training after an epoch, if it is time."""
    if epoch % checkpoint.every:
        return
    path, content = Path(checkpoint.path), BytesIO()
    torch.save({"format": _FORMAT, "identity": identity, **state}, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content.getvalue())


def _advice(path, what):
    return (
        f"A training must resume from its own file, got {str(path)!r}, {what}. Remove "
        "it, or give each training a path of its own."
    )


def identity_of(net, X, y, **settings):
    """Return a text that differs from training to training."""
    loss = {
        name: value
        for name, value in vars(net.criterion_).items()
        if isinstance(value, (int, float, str))
    }
    jitter = net.iterator_train__jitter
    optimizer = repr(net.optimizer_)
    parts = (X, y, net.module_.settings, optimizer, loss, jitter, settings)
    return joblib.hash(parts)
