"""Training sets larger than memory: simulated spectra in a folder of HDF5 files.

A store is a folder with ``manifest.json``, which holds the settings, and shards
``shard-00000.h5``, ``shard-00001.h5``, ... of `shard_size` spectra each (the last may
hold fewer), in datasets ``X`` and ``y``, and ``augmentation`` where more was drawn. A
file gets its name only when all of it is on disk, so a file with a name is whole,
whenever a writer was stopped.
"""

import json
import re
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from sklearn.utils import check_random_state

from skphonon.instrument import SpectrumGrid

__all__ = [
    "DRAWN",
    "FORMAT",
    "MANIFEST",
    "PowderSpectraStore",
    "find_manifest",
    "open_powder_spectra",
    "shard_path",
    "shards_of",
]

FORMAT = "skphonon powder spectra, version 1"
MANIFEST = "manifest.json"
DRAWN = "augmentation"  # dataset of what was drawn for each spectrum
_DRAWN_IN_0_1 = "variation"
_DTYPES = ("float32", "float64")
_SHARD = re.compile(r"shard-(\d{5,})\.h5")


def open_powder_spectra(path):
    """Open a training set that :func:`write_powder_spectra` wrote.

    Parameters
    ----------
    path : path-like
        Folder of the store.

    Returns
    -------
    PowderSpectraStore
        Reads spectra from the files when they are asked for.

    Raises
    ------
    ValueError
        If the folder holds no store, one that is not complete, or one with a damaged
        manifest.
    OSError
        If a file cannot be read, or does not hold what the manifest says.

    Examples
    --------
    >>> from skphonon.datasets import open_powder_spectra
    >>> open_powder_spectra("no-such-folder")
    Traceback (most recent call last):
    ...
    ValueError: The folder no-such-folder holds no store (no manifest.json). Make one
    with write_powder_spectra.
    """
    return PowderSpectraStore(path)


class PowderSpectraStore:
    """Read a training set from its files, a part at a time.

    ``store[i:j]`` gives ``(X, y)`` of consecutive spectra, ``store.batches(size)`` all
    of them, batch by batch, and ``len(store)`` their number. Made by
    :func:`write_powder_spectra` and :func:`open_powder_spectra`; may be pickled.

    Parameters
    ----------
    path : path-like
        Folder of the store.

    Attributes
    ----------
    path : pathlib.Path
        Folder of the store.
    n_samples : int
        Number of spectra.
    shape : tuple of int
        ``(n_samples, n_pixels)``.
    dtype : numpy.dtype
        Precision of the spectra.
    parameter_names : list of str
        Names of the columns of y.
    grid : SpectrumGrid or None
        Axes of the spectra; None where the simulator has another kind of grid.
    settings : dict
        Settings of the simulation, as the manifest has them; arrays by their sha256.
    y : ndarray of shape (n_samples, n_parameters)
        All parameter sets.

    Examples
    --------
    >>> from skphonon.datasets import open_powder_spectra
    >>> store = open_powder_spectra("training-set")  # doctest: +SKIP
    >>> for X, y in store.batches(256):  # doctest: +SKIP
    ...     estimator.partial_fit(X, y)
    """

    def __init__(self, path):
        self.path = Path(path)
        manifest = find_manifest(self.path)
        if manifest is None:
            raise ValueError(
                f"The folder {path} holds no store (no {MANIFEST}). Make one with "
                "write_powder_spectra."
            )
        self.settings = manifest["settings"]
        n_shards = shards_of(self.settings).stop
        n_missing = n_shards - _count_shards(self.path, n_shards)
        if n_missing:
            raise ValueError(
                f"The store {path} is not complete: {n_missing} of {n_shards} "
                "shards are missing. Call write_powder_spectra again with the same "
                "arguments; it simulates those."
            )
        self.n_samples = self.settings["n_samples"]
        self.dtype = np.dtype(self.settings["dtype"])
        self.parameter_names = self.settings["parameter_names"]
        self.grid = _grid_from_json(manifest["grid"], self.path / MANIFEST)
        self.shape = self.n_samples, getattr(self.grid, "n_pixels", None)
        self.shape = self.n_samples, self._read(0, "X", slice(0)).shape[1]

    def __len__(self):
        return self.n_samples

    def __repr__(self):
        return f"{type(self).__name__}({str(self.path)!r}, shape={self.shape})"

    def __getitem__(self, rows):
        if not isinstance(rows, slice) or rows.step not in (None, 1):
            raise TypeError(
                f"A store gives consecutive spectra, as in store[:100]; got {rows!r}."
            )
        start, stop, _ = rows.indices(len(self))
        return self._rows("X", start, stop), self._rows("y", start, stop)

    @property
    def y(self):
        """All parameter sets, an array of shape (n_samples, n_parameters)."""
        return self._rows("y", 0, len(self))

    def load(self, n_samples=None):
        """Read spectra into memory, for `fit`.

        Parameters
        ----------
        n_samples : int, default=None
            The first so many; None for all.

        Returns
        -------
        X : ndarray of shape (n_samples, n_pixels)
            One spectrum a row, NaN where the instrument cannot see.
        y : ndarray of shape (n_samples, n_parameters)
            Their parameters.

        Raises
        ------
        ValueError
            If the store has fewer spectra.
        """
        if n_samples is not None and not 0 < n_samples <= len(self):
            raise ValueError(
                f"n_samples must be between 1 and the {len(self)} spectra of the "
                f"store, got {n_samples}."
            )
        return self[:n_samples]

    def load_augmentation(self):
        """Read the values drawn for each spectrum besides its parameters.

        Returns
        -------
        DataFrame of shape (n_samples, n_drawn)
            As :func:`make_powder_spectra` returns it.

        Raises
        ------
        ValueError
            If the store was written without `augmentation` and with one `noise`.
        """
        import pandas as pd

        with self._open(0) as file:
            name = DRAWN if DRAWN in file else _DRAWN_IN_0_1
            if name not in file:
                raise ValueError(
                    f"Nothing was drawn for the store {self.path} but parameters and "
                    "noise of one size. Write one with augmentation, or noise=(low, "
                    "high)."
                )
            columns = list(file[name].attrs["columns"])
            self._check(file[name], name, 0, len(columns))
        return pd.DataFrame(self._rows(name, 0, len(self)), columns=columns)

    def batches(self, batch_size, *, shuffle=False, random_state=None):
        """Go through all spectra once, for `partial_fit` or `transform`.

        Parameters
        ----------
        batch_size : int
            Spectra in a batch; the last may hold fewer.
        shuffle : bool, default=False
            Whether to mix them: shards come in random order, and so do the spectra
            within each. Only one shard has to be read at a time so, and sets that were
            drawn at random are mixed well; put sets of your own in random order
            before they are simulated.
        random_state : int, RandomState instance or None, default=None
            Seed of that order.

        Yields
        ------
        X : ndarray of shape (n_batch, n_pixels)
            One spectrum a row, NaN where the instrument cannot see.
        y : ndarray of shape (n_batch, n_parameters)
            Their parameters.

        Raises
        ------
        ValueError
            If `batch_size` is not positive.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}.")
        rng = check_random_state(random_state)
        shards = np.arange(shards_of(self.settings).stop)
        parts, waiting = [], 0
        for shard in rng.permutation(shards) if shuffle else shards:
            X, y = self._read(shard, "X"), self._read(shard, "y")
            order = rng.permutation(len(y)) if shuffle else slice(None)
            parts.append((X[order], y[order]))
            waiting += len(y)
            if waiting < batch_size:
                continue
            X, y = map(np.concatenate, zip(*parts, strict=True))
            n_given = waiting - waiting % batch_size
            for start in range(0, n_given, batch_size):
                yield X[start : start + batch_size], y[start : start + batch_size]
            parts, waiting = [(X[n_given:], y[n_given:])], waiting - n_given
        if waiting:
            yield tuple(map(np.concatenate, zip(*parts, strict=True)))

    def _rows(self, name, start, stop):
        size = self.settings["shard_size"]
        none = self._read(0, name, slice(0))
        rows = np.empty((max(stop - start, 0), none.shape[1]), none.dtype)
        done = 0
        while done < len(rows):
            shard, first = divmod(start + done, size)
            part = self._read(shard, name, slice(first, first + len(rows) - done))
            rows[done : done + len(part)] = part
            done += len(part)
        return rows

    def _read(self, shard, name, rows=slice(None)):
        with self._open(shard) as file:
            width = {"X": self.shape[1], "y": len(self.parameter_names)}.get(name)
            self._check(file[name], name, shard, width)
            return file[name][rows]

    def _check(self, found, name, shard, width):
        """Refuse a dataset of a shard that is not as the manifest has it."""
        size = self.settings["shard_size"]
        n_rows = min(size, self.n_samples - int(shard) * size)
        dtype = self.dtype if name == "X" else np.dtype(float)
        got = "a group"
        if isinstance(found, h5py.Dataset):
            got, shape = f"{found.dtype} of shape {found.shape}", found.shape or ()
            columns = shape[1:] if width is None else (width,)
            is_whole = len(shape) == 2 and shape == (n_rows, *columns)
            if is_whole and found.dtype.newbyteorder("=") == dtype:
                return
        wanted = (
            "as many columns as all shards" if width is None else f"{width} columns"
        )
        raise OSError(
            f"{name} must hold {n_rows} rows of {dtype} in {wanted}, as {MANIFEST} "
            f"has it; got {got}"
        )

    @contextmanager
    def _open(self, shard):
        path = shard_path(self.path, shard)
        try:
            with h5py.File(path, "r") as file:
                yield file
        except (OSError, KeyError, RuntimeError) as error:
            raise OSError(
                f"{path} cannot be read ({error}). Remove it and call "
                "write_powder_spectra again: it simulates the missing ones."
            ) from error


def find_manifest(path):
    """Return the manifest of a store, or None where there is nothing yet."""
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} must be a folder, got a file.")
    try:
        manifest = json.loads((path / MANIFEST).read_bytes(), parse_constant=str)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path / MANIFEST} is not JSON ({error}).") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(
            f"{path / MANIFEST} must be a manifest of {FORMAT!r}; it is not. Name "
            "another folder."
        )
    _check_manifest(manifest, path / MANIFEST)
    return manifest


def _check_manifest(manifest, file):
    """Refuse a manifest without what readers and writers of a store need."""
    parts = {
        "settings": ("a mapping", _is_mapping),
        "grid": ("null or a mapping", lambda v: v is None or _is_mapping(v)),
    }
    settings = {
        "n_samples": ("a positive integer", _is_count),
        "shard_size": ("a positive integer", _is_count),
        "dtype": (f"one of {', '.join(_DTYPES)}", lambda v: v in _DTYPES),
        "parameter_names": ("a list of names", _is_list_of_texts),
        "random_state": ("an integer, not negative", lambda v: _is_count(v, 0)),
    }
    _check_entries(manifest, parts, file)
    _check_entries(manifest["settings"], settings, f"{file}: settings")


def _check_entries(mapping, wanted, place):
    for name, (what, fits) in wanted.items():
        if name not in mapping or not fits(mapping[name]):
            got = repr(mapping[name]) if name in mapping else "nothing"
            raise _damaged(place, f"hold {name}, {what}; got {got:.60}")


def _damaged(place, wanted):
    return ValueError(
        f"{place} must {wanted}. The manifest is damaged: restore it, or write the "
        "spectra again into another folder with write_powder_spectra."
    )


def _is_mapping(value):
    return isinstance(value, dict)


def _is_count(value, least=1):
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_list_of_texts(value):
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _count_shards(folder, n_shards):
    """Return how many of the shards are there; a damaged manifest may name many."""
    found = map(_SHARD.fullmatch, (file.name for file in folder.iterdir()))
    numbers = {int(match[1]) for match in found if match}
    return sum(number < n_shards for number in numbers)


def shards_of(settings):
    return range(-(-settings["n_samples"] // settings["shard_size"]))


def shard_path(folder, number):
    return folder / f"shard-{number:05d}.h5"


def _grid_from_json(settings, file):
    if settings is None:
        return None
    settings, rows = dict(settings), settings.get("mask")
    try:
        if rows is not None:
            settings["mask"] = np.array([[p == "1" for p in row] for row in rows])
        return SpectrumGrid(**settings)
    except (TypeError, ValueError, OverflowError) as error:
        wanted = f"hold the settings of a SpectrumGrid under grid ({error})"
        raise _damaged(file, wanted) from error
