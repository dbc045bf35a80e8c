"""Simulating spectra into a store, by one or several processes, with interruptions."""

import io
import json
import logging
from collections import deque
from collections.abc import Iterator
from functools import partial
from numbers import Integral
from pathlib import Path

import h5py
import numpy as np
from sklearn.utils.parallel import Parallel
from tqdm.auto import tqdm

from skphonon._files import UNFINISHED, write_whole
from skphonon._moved import renamed
from skphonon._settings import describe, refuse_other_settings
from skphonon._version import __version__
from skphonon.datasets._store import (
    DRAWN,
    FORMAT,
    MANIFEST,
    PowderSpectraStore,
    find_manifest,
    shard_path,
    shards_of,
)
from skphonon.datasets._synthetic import draw_parameters, simulate_chunks
from skphonon.instrument import SpectrumGrid
from skphonon.instrument.augmentation import draw_values, settle_ranges

__all__ = ["write_powder_spectra"]

_log = logging.getLogger(__name__)

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
        As for :func:`make_powder_spectra`, with a ``grid``; a scikit-learn estimator,
        so that its settings can be written down.
    n_samples, parameters, spread, noise, augmentation : int, array-like, float, dict
        As for :func:`make_powder_spectra`. The values drawn for each spectrum are read
        by :meth:`PowderSpectraStore.load_augmentation`.
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
    manifest = find_manifest(path)
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
    refuse_other_settings(path, find_manifest(path)["settings"], settings)
    draws = augmentation or np.ndim(noise)
    _write_missing(
        path,
        y,
        partial(simulate_chunks, simulator, y, ranges, rows_seed),
        partial(draw_values, simulator, ranges, rows_seed) if draws else None,
        settings,
        n_jobs,
        verbose,
    )
    return PowderSpectraStore(path)


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


def _begin(path, grid, settings):
    path.mkdir(parents=True, exist_ok=True)
    known = (MANIFEST, UNFINISHED)
    others = [f.name for f in path.iterdir() if not f.name.endswith(known)]
    if others:
        raise ValueError(
            f"The folder {path} must be empty or hold a store, got {others[0]!r} and "
            f"no {MANIFEST} among {len(others)} entries. Name another folder."
        )
    manifest = {"format": FORMAT, "grid": _grid_to_json(grid), "settings": settings}
    _write(path / MANIFEST, json.dumps(manifest, indent=1).encode())


def _write_missing(path, y, simulate, draw, settings, n_jobs, verbose):
    """Simulate and write the shards that are not there.

    `draw` returns the values drawn for some rows; None where nothing was drawn.
    """
    size = settings["shard_size"]
    shards = [range(i * size, min((i + 1) * size, len(y))) for i in shards_of(settings)]
    missing = {shard_path(path, i): rows for i, rows in enumerate(shards)}
    missing = {file: rows for file, rows in missing.items() if not file.exists()}
    n_done = len(y) - sum(map(len, missing.values()))
    _log.info("%s: %d of %d spectra are there", path, n_done, len(y))
    started: deque[tuple[Path, range, Iterator[np.ndarray]]] = deque()
    with tqdm(
        total=len(y), initial=n_done, desc="Simulating", disable=not verbose
    ) as progress:

        def finish():
            file, rows, simulated = started.popleft()
            chunks = []
            for spectra in simulated:
                chunks.append(spectra.astype(settings["dtype"]))
                progress.update(len(spectra))
            drawn = None if draw is None else draw(rows)
            part = y[rows.start : rows.stop]
            _write(file, _shard_bytes(np.concatenate(chunks), part, drawn))

        for file, rows in missing.items():
            if file.exists():  # another writer was faster
                progress.update(len(rows))
                continue
            parallel = Parallel(n_jobs=n_jobs, return_as="generator")
            # the workers have the next shard to do while this process writes one
            started.append((file, rows, simulate(parallel, rows=rows)))
            if len(started) > 1:
                finish()
        while started:
            finish()
    for leftover in path.glob(f".*{UNFINISHED}"):
        leftover.unlink(missing_ok=True)


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
            file.create_dataset(DRAWN, data=table).attrs["columns"] = list(drawn)
    return image.getbuffer()


def _write(path, content):
    try:
        write_whole(path, content)
    except FileNotFoundError:
        # another writer completed the store meanwhile and tidied up
        if not path.exists():
            raise


def _grid_to_json(grid):
    """Return the settings of a SpectrumGrid for JSON; other grids are not kept."""
    if type(grid) is not SpectrumGrid:
        return None
    settings = {name: np.asarray(v).tolist() for name, v in grid.settings().items()}
    if settings["mask"] is not None:
        rows = np.asarray(grid.mask).astype(int).astype(str)
        settings["mask"] = ["".join(row) for row in rows]  # a line for a row
    return settings
