"""Training sets larger than memory: simulated spectra in a folder of HDF5 files.

A store is a folder with ``manifest.json``, which says what was asked for, and shards
``shard-00000.h5``, ``shard-00001.h5``, ... of `shard_size` spectra each (the last may
hold fewer), in datasets ``X`` and ``y``, and ``augmentation`` where more was drawn. A
file gets its name only when all of it is on disk, so a file with a name is whole,
whenever a writer was stopped.
"""

import io
import json
from collections import deque
from contextlib import contextmanager
from functools import partial
from numbers import Integral
from pathlib import Path

import h5py
import numpy as np
from joblib import Parallel
from sklearn.utils import check_random_state
from tqdm import tqdm

from skphonon._files import UNFINISHED, write_whole
from skphonon._moved import renamed
from skphonon._settings import describe, refuse_other_settings
from skphonon._version import __version__
from skphonon.datasets._synthetic import draw_parameters, simulate_chunks
from skphonon.instrument import SpectrumGrid
from skphonon.instrument.augmentation import draw_values, settle_ranges

__all__ = ["PowderSpectraStore", "open_powder_spectra", "write_powder_spectra"]

_FORMAT = "skphonon powder spectra, version 1"
_MANIFEST = "manifest.json"
_DRAWN = "augmentation"  # dataset of what was drawn for each spectrum
_DRAWN_IN_0_1 = "variation"
_DTYPES = ("float32", "float64")
_ROWS_TOGETHER = 16  # spectra compressed together: the least that is read at once


@renamed(variation="augmentation")
def write_powder_spectra(
    path,
    simulator,
    n_samples=None,
    *,
    parameters=None,
    spread=0.5,
    noise=0.0,
    augmentation=None,
    random_state=None,
    shard_size=1024,
    dtype="float32",
    n_jobs=None,
    verbose=0,
):
    """Simulate spectra for many sets of force constants into a folder of files.

    The spectra are those of :func:`make_powder_spectra`, but no more than two shards of
    them are in memory: one is simulated while another is written. The same call again
    continues where the last one stopped, however that ended: finished shards stay, the
    others are simulated, and the files come out the same as without the interruption.
    A call on a complete store simulates nothing.

    Several processes may write to one folder, if all are given the same seed: they
    write the same files, and skip those that they find finished.

    Parameters
    ----------
    path : path-like
        Folder of the store: a new or empty one, or one that the same settings began.
    simulator : object
        Anything with ``simulate``, ``reference``, ``parameter_names`` and ``grid``
        that is a scikit-learn estimator, so that its settings can be written down.
    n_samples : int, default=None
        Number of spectra; None where `parameters` are given, of which it takes the
        first `n_samples` otherwise.
    parameters : array-like of shape (n_samples, n_parameters), default=None
        Parameter sets to simulate, in the simulator's order; None draws them.
    spread : float or array-like of shape (n_parameters,), default=0.5
        Half-width of the distribution drawn from, relative to the size of each
        reference value, as for :func:`make_powder_spectra`.
    noise : float or pair of float, default=0.0
        Standard deviation of white noise added to visible pixels, relative to the
        standard deviation of each simulated spectrum over them; or a range of it.
    augmentation : dict, default=None
        What else differs between spectra, as for :func:`make_powder_spectra`.
        :meth:`PowderSpectraStore.load_augmentation` tells what was drawn.
    random_state : int or None, default=None
        Seed of parameters, noise and augmentation. None takes the seed of the store,
        and draws one for a new store.
    shard_size : int, default=1024
        Spectra a file. A killed writer loses two shards at most. Memory grows with it,
        and no more than ``shard_size / 32`` workers simulate at the same time.
    dtype : {"float32", "float64"}, default="float32"
        Precision of the stored spectra. Its rounding, 1e-7, is far below noise and the
        accuracy of a simulation, and networks compute with float32.
    n_jobs : int, default=None
        Processes to simulate in, as in joblib and :func:`make_powder_spectra`. This
        process alone writes.
    verbose : int, default=0
        Positive shows a progress bar.

    Returns
    -------
    PowderSpectraStore
        The complete store.

    Raises
    ------
    ValueError
        If an argument is out of range, the folder holds something else, or a store of
        other settings or of another version of skphonon.
    TypeError
        If a setting of the simulator cannot be written down: all but numbers, strings,
        arrays, lists, dicts, dataclasses, estimators and functions of a module.
    OSError
        If a file cannot be written. Finished shards stay.

    See Also
    --------
    open_powder_spectra : Open a complete store.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skphonon import PowderSimulator, SpectrumGrid, load_aluminium_model
    >>> from skphonon.datasets import write_powder_spectra
    >>> grid = SpectrumGrid(np.arange(10, 45, 5.0), np.arange(1, 8, 1.0))
    >>> simulator = PowderSimulator(
    ...     load_aluminium_model(), grid, energy_resolution=1.54
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = write_powder_spectra(folder, simulator, 3, random_state=0)
    ...     X, y = store[:2]
    >>> X.shape, y.shape
    ((2, 49), (2, 5))
    """
    path = Path(path)
    _check_layout(shard_size, dtype)
    manifest = _find_manifest(path)
    seed = _seed(random_state, manifest)
    ranges = settle_ranges(simulator, noise, augmentation)
    y, rows_seed = draw_parameters(simulator, n_samples, parameters, spread, seed)
    settings = {
        "skphonon": __version__,
        "simulator": describe(simulator, "simulator"),
        "parameter_names": list(simulator.parameter_names),
        "n_samples": len(y),
        "spread": describe(spread, "spread"),
        "noise": describe(noise, "noise") if np.ndim(noise) else float(noise),
        "random_state": seed,
        "shard_size": int(shard_size),
        "dtype": str(dtype),
        "parameters": describe(y, "parameters"),
    }
    if augmentation:
        settings["augmentation"] = {
            n: list(r) for n, r in ranges.items() if n != "noise"
        }
    if manifest is None:
        _begin(path, simulator.grid, settings)
    refuse_other_settings(path, _find_manifest(path)["settings"], settings)
    simulate = partial(simulate_chunks, simulator, y, ranges, rows_seed)
    draw = partial(draw_values, simulator, ranges, rows_seed)
    if not augmentation and not np.ndim(noise):
        draw = None
    _write_missing(path, y, simulate, draw, settings, n_jobs, verbose)
    return PowderSpectraStore(path)


def open_powder_spectra(path):
    """Open a training set that :func:`write_powder_spectra` wrote.

    Parameters
    ----------
    path : path-like
        Folder of the store.

    Returns
    -------
    PowderSpectraStore
        Reads from the files what is asked for, when it is asked for.

    Raises
    ------
    ValueError
        If the folder holds no store, or one that is not complete.

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
        What the spectra were made with, as the manifest has it; arrays by their
        sha256.
    y : ndarray of shape (n_samples, n_parameters)
        All parameter sets.

    Raises
    ------
    ValueError
        If the folder holds no store, or one that is not complete.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skphonon import PowderSimulator, SpectrumGrid, load_aluminium_model
    >>> from skphonon.datasets import write_powder_spectra
    >>> grid = SpectrumGrid(np.arange(10, 45, 5.0), np.arange(1, 8, 1.0))
    >>> simulator = PowderSimulator(
    ...     load_aluminium_model(), grid, energy_resolution=1.54
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = write_powder_spectra(folder, simulator, 5, random_state=0)
    ...     [len(y) for X, y in store.batches(2)]
    [2, 2, 1]
    """

    def __init__(self, path):
        self.path = Path(path)
        manifest = _find_manifest(self.path)
        if manifest is None:
            raise ValueError(
                f"The folder {path} holds no store (no {_MANIFEST}). Make one with "
                "write_powder_spectra."
            )
        self.settings = manifest["settings"]
        shards = _shards(self.settings)
        missing = [n for n in shards if not _shard_path(self.path, n).exists()]
        if missing:
            raise ValueError(
                f"The store {path} is not complete: {len(missing)} of {len(shards)} "
                "shards are missing. Call write_powder_spectra again with the same "
                "arguments; it simulates those."
            )
        self.n_samples = self.settings["n_samples"]
        self.dtype = np.dtype(self.settings["dtype"])
        self.parameter_names = self.settings["parameter_names"]
        self.grid = _grid_from_json(manifest["grid"])
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
        """Read what was drawn for each spectrum besides its parameters.

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
            name = _DRAWN if _DRAWN in file else _DRAWN_IN_0_1
            if name not in file:
                raise ValueError(
                    f"Nothing was drawn for the store {self.path} but parameters and "
                    "noise of one size. Write one with augmentation, or noise=(low, "
                    "high)."
                )
            columns = list(file[name].attrs["columns"])
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
        shards = np.arange(len(_shards(self.settings)))
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
            return file[name][rows]

    @contextmanager
    def _open(self, shard):
        path = _shard_path(self.path, shard)
        try:
            with h5py.File(path, "r") as file:
                yield file
        except (OSError, KeyError) as error:
            raise OSError(
                f"{path} cannot be read ({error}). Remove it and call "
                "write_powder_spectra again: it simulates what is missing."
            ) from error


def _check_layout(shard_size, dtype):
    if not isinstance(shard_size, Integral) or shard_size < 1:
        raise ValueError(f"shard_size must be a positive integer, got {shard_size!r}.")
    if dtype not in _DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(_DTYPES)}, got {dtype!r}.")


def _seed(random_state, manifest):
    if random_state is None and manifest is not None:
        return manifest["settings"]["random_state"]
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, Integral):
        return int(random_state)
    raise ValueError(
        "random_state must be an int or None, so that a later call can continue with "
        f"it; got {random_state!r}."
    )


def _find_manifest(path):
    """Return the manifest of a store, or None where there is nothing yet."""
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} must be a folder, got a file.")
    try:
        manifest = json.loads((path / _MANIFEST).read_bytes(), parse_constant=str)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path / _MANIFEST} is not JSON ({error}).") from error
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise ValueError(
            f"{path / _MANIFEST} must be a manifest of {_FORMAT!r}; it is not. Name "
            "another folder."
        )
    return manifest


def _begin(path, grid, settings):
    path.mkdir(parents=True, exist_ok=True)
    known = (_MANIFEST, UNFINISHED)
    others = [f.name for f in path.iterdir() if not f.name.endswith(known)]
    if others:
        raise ValueError(
            f"The folder {path} must be empty or hold a store, got {others[0]!r} and "
            f"no {_MANIFEST} among {len(others)} entries. Name another folder."
        )
    manifest = {"format": _FORMAT, "grid": _grid_to_json(grid), "settings": settings}
    _write(path / _MANIFEST, json.dumps(manifest, indent=1).encode())


def _shards(settings):
    return range(-(-settings["n_samples"] // settings["shard_size"]))


def _shard_path(folder, number):
    return folder / f"shard-{number:05d}.h5"


def _write_missing(path, y, simulate, draw, settings, n_jobs, verbose):
    """Simulate and write the shards that are not there.

    `draw` tells what was drawn for some rows; None where that was nothing.
    """
    size = settings["shard_size"]
    shards = [range(i * size, min((i + 1) * size, len(y))) for i in _shards(settings)]
    missing = {_shard_path(path, i): rows for i, rows in enumerate(shards)}
    missing = {file: rows for file, rows in missing.items() if not file.exists()}
    n_done = len(y) - sum(map(len, missing.values()))
    with tqdm(
        total=len(y), initial=n_done, desc="Simulating", disable=not verbose
    ) as progress:
        started = deque()
        for file, rows in missing.items():
            if file.exists():  # another writer was faster
                progress.update(len(rows))
                continue
            parallel = Parallel(n_jobs=n_jobs, return_as="generator")
            # the workers have the next shard to do while this process writes one
            started.append((file, rows, simulate(parallel, rows=rows)))
            if len(started) > 1:
                _finish(*started.popleft(), y, draw, settings["dtype"], progress)
        for shard in started:
            _finish(*shard, y, draw, settings["dtype"], progress)
    for leftover in path.glob(f".*{UNFINISHED}"):
        leftover.unlink(missing_ok=True)


def _finish(file, rows, simulated, y, draw, dtype, progress):
    chunks = []
    for spectra in simulated:
        chunks.append(spectra.astype(dtype))
        progress.update(len(spectra))
    X = np.concatenate(chunks)
    drawn = None if draw is None else draw(rows)
    _write(file, _shard_bytes(X, y[rows.start : rows.stop], drawn))


def _shard_bytes(X, y, drawn):
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        file.create_dataset(
            "X",
            data=X,
            chunks=(min(_ROWS_TOGETHER, len(X)), X.shape[1]),
            shuffle=True,
            compression="gzip",
            compression_opts=1,
            fletcher32=True,
        )
        file.create_dataset("y", data=y)
        if drawn is not None:
            table = np.stack(list(drawn.values()), axis=1)
            file.create_dataset(_DRAWN, data=table).attrs["columns"] = list(drawn)
    return image.getbuffer()


def _write(path, content):
    try:
        write_whole(path, content)
    except FileNotFoundError:
        # another writer completed the store meanwhile and tidied up
        if not path.exists():
            raise


def _grid_to_json(grid):
    """Return what rebuilds a SpectrumGrid; other grids are not kept."""
    if type(grid) is not SpectrumGrid:
        return None
    settings = grid.settings()
    settings = {name: np.asarray(v).tolist() for name, v in settings.items()}
    if settings["mask"] is not None:
        rows = grid.mask.astype(int).astype(str)
        settings["mask"] = ["".join(row) for row in rows]  # a line for a row
    return settings


def _grid_from_json(settings):
    if settings is None:
        return None
    settings = dict(settings)
    if settings["mask"] is not None:
        settings["mask"] = np.array(
            [[p == "1" for p in row] for row in settings["mask"]]
        )
    return SpectrumGrid(**settings)
