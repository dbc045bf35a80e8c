"""What readers do with files that were damaged, or made to do harm.

Run with ``python tests/benchmarks/fuzz_readers.py [--number N] [--seed S] [FORMAT...]``
(10,000 mutations of a format take minutes). Formats: the names of `FORMATS`.

Sound files of each format, in the old and the new structures of HDF5, are mutated:
bytes flipped, cut off, moved, doubled and set to extreme numbers; or, through HDF5,
things of a wrong type or shape, missing, huge, not finite, links to elsewhere; in texts
and archives, words, lines and members put in, left out or exchanged. Child
processes read them under limits of time and memory. A reader may give data, ValueError
or OSError. Anything else is listed with the numbers that make it again (``--only N``).
"""

import argparse
import io
import multiprocessing
import os
import resource
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections import Counter
from pathlib import Path
from time import perf_counter

import h5py
import numpy as np

from skphonon import CrystalGrid, PathGrid, SpectrumGrid
from skphonon.io import (
    read_arrays,
    read_dave,
    read_horace,
    read_mdhisto,
    read_nxspe,
    read_processed,
    read_spe,
    read_text,
    read_triple_axis,
    write_arrays,
)

sys.path.insert(0, str(Path(__file__).parents[1]))
from horace_files import random_pixels, write_horace
from measured_files import (
    ENERGY,
    HKL,
    detectors,
    write_mdhisto,
    write_nxspe,
    write_processed,
)
from spe_files import write_grp, write_phx, write_spe
from tables_files import write_ill, write_image, write_npz, write_points, write_spice

TIME = 10.0  # seconds a file
START = 60.0  # seconds until the first
MEMORY = 4 << 30  # bytes of address space

ALLOWED = ("ok", "ValueError", "OSError")  # outcomes
EXTREMES = [0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 63) - 1, -1]
WORDS = [b"nan", b"1e400", b"-1e308", b"\n", b"\t", b",", b";", b"#", b"9" * 40, b"\0",
         b"-", b"E", b"\n\n", b"1 2 3\n", b"inf", b'"', b"=", b":",
         b" " * 500]  # fmt: skip
NUMBERS = [0.0, -1.0, np.nan, np.inf, -np.inf, 1e308, -1e308, 1e-320, 1e18]


# Sound files


def _arrays(folder):
    rng = np.random.RandomState(0)
    energy, q = np.arange(5.0, 11), np.linspace(0.5, 4, 5)
    grids = {
        "powder": SpectrumGrid(energy, q, incident_energy=50.0, two_theta=(3, 130)),
        "path": PathGrid(energy, rng.normal(size=(4, 3))),
        "crystal": CrystalGrid(
            energy, q, q, 0.0, lattice=4 * np.eye(3), psi=[0.0, 5.0],
            incident_energy=50.0, mask=rng.normal(size=(6, 25)) > 0,
        ),
    }  # fmt: skip
    for name, grid in grids.items():
        X = rng.normal(size=(2, grid.n_pixels))
        path = folder / f"{name}.h5"
        write_arrays(path, X, grid, errors=X**2, temperature=[5.0, 300.0])
        yield path


def _mdhisto(folder):
    rng = np.random.RandomState(0)
    edges = [np.linspace(0, 2, 5), np.linspace(-1, 1, 4), [-0.2, 0.2], np.arange(5, 11)]
    logs = {"Ei": [60.0], "SampleTemp": [5.0, 5.1], "W_MATRIX": np.eye(3).ravel()}
    powder = [("|Q|", "Angstrom^-1", "General Frame"), ENERGY]
    for name, axes, borders in (
        ("crystal", [*HKL, ENERGY], edges),
        ("powder", powder, [edges[0], edges[3]]),
    ):
        signal = 1 + rng.uniform(size=[len(border) - 1 for border in borders])
        settings = {"logs": logs, "ub": np.eye(3) / 4, "normalization": 0}
        yield write_mdhisto(folder / f"{name}.nxs", axes, borders, signal, **settings)


def _nxspe(folder):
    bank, edges = detectors(6, 3), np.arange(-5.0, 40, 5)
    data = np.random.RandomState(0).uniform(size=(18, 8))
    yield write_nxspe(folder / "a.nxspe", bank, edges, data, data, 50.0, psi=3.0)


def _processed(folder):
    rng = np.random.RandomState(0)
    values, edges = rng.uniform(1, 2, (4, 8)), np.arange(-5.0, 40, 5)
    places = [[4.0, 30.0, 90], [4.0, 30.0, -90], [4.0, 32.0, 10], [4.0, 35.0, 0]]
    logs = {"Ei": 50.0, "SampleTemp": {"value": [5.0, 5.1], "time": [0.0, 9.0]}}
    history = ["Algorithm: CorrectKiKf v1\n  Name: EFixed, Value: 50, Default?: No\n"]
    write_processed(
        folder / "a.nxs", values, values, edges, positions=places, logs=logs,
        groups=[[0], [1], [2], [3]], history=history,
        parameters="detID:1003;bool;masked;1",
    )  # fmt: skip
    yield folder / "a.nxs"
    q = np.linspace(3.5, 5.0, 5)
    write_processed(folder / "b.nxs", values, values, edges, q, logs=logs)
    yield folder / "b.nxs"


def _horace(folder):
    edges = [np.linspace(-1.5, 1.5, n) for n in (5, 7)]
    edges += [np.array([-1.0, 1.0]), np.arange(5.0, 46, 10)]
    for version in (4.0, 3.1, 2.0):
        for keep in (True, False):
            path = folder / f"{version}{keep}.sqw"
            settings = {"version": version, "keep": keep}
            yield write_horace(path, random_pixels(), edges, **settings)


def _spe(folder):
    values = np.random.RandomState(0).uniform(1, 2, (4, 8))
    yield write_spe(folder / "a.spe", values, values, np.arange(-5.0, 40, 5))


def _detectors(folder):
    ones = np.ones(4)
    yield write_phx(folder / "a.phx", 30 + np.arange(4), ones, ones, ones)


def _grp(folder):
    values = np.random.RandomState(0).uniform(1, 2, (4, 8))
    yield write_grp(folder / "a.grp", values, values, np.arange(8.0), np.arange(1, 5))


def _tables(folder):
    energy, q = np.arange(-5.0, 30, 3), np.arange(0.5, 5, 0.5)
    image = np.random.RandomState(0).uniform(1, 2, (len(energy), len(q)))
    rows = [
        (b, a, image[i, j], 1) for i, a in enumerate(energy) for j, b in enumerate(q)
    ]
    yield write_points(folder / "points", rows)
    header = "q;E (meV);I;err"
    yield write_points(folder / "commas", rows, header, delimiter=";", decimal=",")
    yield write_image(folder / "image", energy, q, image)


def _scans(folder):
    points = np.c_[np.ones(5), np.zeros(5), np.zeros(5), np.arange(5.0)]
    yield write_spice(folder / "a.dat", points, np.arange(5))
    columns = {"QH": np.ones(3), "QK": np.zeros(3), "QL": np.zeros(3)}
    columns |= {"EN": np.arange(3.0), "M1": np.full(3, 9.0), "CNTS": np.arange(3.0)}
    yield write_ill(folder / "b", columns)


def _npz(folder):
    grid = SpectrumGrid(np.arange(5.0, 11), np.linspace(0.5, 4, 5))
    image = np.ones(grid.shape)
    yield write_npz(folder / "a.npz", grid, image, temperature=5.0, quantity="sqe")
    yield write_npz(folder / "b.npz", grid, image, compressed=True)


def _as_table(path):
    return read_text(path, energy_unit="meV", q_unit="1/Angstrom")


def _as_spe(path):
    """Read a mutated SPE file beside sound detectors, or the reverse."""
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "other"
        if path.read_bytes().startswith(b"       4\n"):
            ones = np.ones((4, 8))
            write_spe(other, ones, ones, np.arange(-5.0, 40, 5))
            return read_spe(other, path, incident_energy=50.0)
        write_phx(other, 30 + np.arange(4), *np.ones((3, 4)))
        return read_spe(path, other, incident_energy=50.0)


FORMATS = {
    "arrays": (_arrays, read_arrays),
    "detectors": (_detectors, _as_spe),
    "grp": (_grp, read_dave),
    "horace": (_horace, read_horace),
    "mdhisto": (_mdhisto, read_mdhisto),
    "npz": (_npz, read_arrays),
    "nxspe": (_nxspe, read_nxspe),
    "processed": (_processed, read_processed),
    "scans": (_scans, read_triple_axis),
    "spe": (_spe, _as_spe),
    "tables": (_tables, _as_table),
}


def sound_files(name):
    """Return files of a format as bytes, in the old and in the new structures."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for path in FORMATS[name][0](Path(folder)):
            if not h5py.is_hdf5(path):
                files.append(path.read_bytes())
                continue
            newer = io.BytesIO()
            with h5py.File(path) as old, h5py.File(newer, "w", libver="latest") as new:
                for each in old:
                    old.copy(each, new)
                _lengthen(new, old)
                new.visititems(lambda name, found, new=new: _lengthen(found, found))
            files += [path.read_bytes(), newer.getvalue()]
    return files


def _lengthen(holder, source):
    """Write attributes that are bytes as texts of variable length, in a heap."""
    for key, value in dict(source.attrs).items():
        holder.attrs[key] = value.decode() if isinstance(value, bytes) else value


# Mutations of bytes


def flip(content, rng):
    """Set a few bytes at random."""
    for place in rng.integers(0, len(content), rng.integers(1, 17)):
        content[place] = rng.integers(256)


def flip_head(content, rng):
    """Set bytes where most structures are."""
    for place in rng.integers(0, min(4096, len(content)), rng.integers(1, 9)):
        content[place] = rng.integers(256)


def extreme(content, rng):
    """Set an aligned word to an extreme number, or to the place of another."""
    for _ in range(rng.integers(1, 4)):
        size = min(int(rng.choice([1, 2, 4, 8])), len(content))
        place = int(rng.integers(len(content) // size)) * size
        value = int(rng.choice([*EXTREMES, int(rng.integers(len(content))) // 8 * 8]))
        value &= (1 << 8 * size) - 1
        content[place : place + size] = value.to_bytes(size, "little")


def cut(content, rng):
    """Cut the file off."""
    del content[rng.integers(len(content)) :]


def swap(content, rng):
    """Exchange two blocks."""
    size = int(rng.integers(1, 257))
    first, second = rng.integers(0, max(len(content) - size, 1), 2)
    a, b = content[first : first + size], content[second : second + size]
    content[first : first + size], content[second : second + size] = b, a


def double(content, rng):
    """Write a block over another."""
    size = int(rng.integers(1, 257))
    first, second = rng.integers(0, max(len(content) - size, 1), 2)
    content[second : second + size] = content[first : first + size]


def shift(content, rng):
    """Insert or leave out bytes."""
    place, size = int(rng.integers(len(content))), int(rng.integers(1, 65))
    if rng.integers(2):
        del content[place : place + size]
    else:
        content[place:place] = rng.bytes(size)


BYTES = (flip, flip_head, extreme, extreme, cut, swap, double, shift)


# Mutations of texts, and of archives


def words(content, rng):
    """Put words in, or over others."""
    for _ in range(rng.integers(1, 6)):
        word, place = (
            WORDS[rng.integers(len(WORDS))],
            int(rng.integers(len(content) + 1)),
        )
        content[place : place + len(word) * int(rng.integers(2))] = word


def lines(content, rng):
    """Exchange lines, leave one out, repeat one, or cut one off."""
    found = bytes(content).split(b"\n")
    first, second = rng.integers(0, len(found), 2)
    kind = rng.integers(4)
    if kind == 0:
        found[first], found[second] = found[second], found[first]
    elif kind == 1:
        del found[first]
    elif kind == 2:
        found[first:first] = [found[second]] * int(rng.integers(1, 50))
    else:
        found[first] = found[first][: int(rng.integers(len(found[first]) + 1))]
    content[:] = b"\n".join(found)


def members(content, rng):
    """Change one member of an archive."""
    image = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(bytes(content))) as old:
        names = old.namelist()
        chosen = names[rng.integers(len(names))]
        with zipfile.ZipFile(image, "w") as new:
            for name in names:
                member = bytearray(old.read(name))
                if name == chosen and member:
                    changes = (words, *BYTES)
                    changes[rng.integers(len(changes))](member, rng)
                new.writestr(name, bytes(member))
    content[:] = image.getvalue()


def in_its_own_way(content, rng):
    """Return a file changed as its kind can be, and what was done."""
    changed = bytearray(content)
    if content.startswith(b"PK"):
        change = members
    elif b"\0" in content[:4096]:  # a binary file
        change = BYTES[rng.integers(len(BYTES))]
    else:
        change = (words, lines)[rng.integers(2)]
    change(changed, rng)
    return bytes(changed), [change.__name__]


# Mutations through HDF5


def _write(file, name, value, **settings):
    attributes = dict(file[name].attrs) if isinstance(file[name], h5py.Dataset) else {}
    del file[name]
    file.create_dataset(name, data=value, **settings).attrs.update(attributes)


def remove(file, name, rng):
    """Take something away."""
    del file[name]


def exchange(file, name, rng):
    """Put a group in the place of a dataset, and the reverse."""
    is_group = isinstance(file[name], h5py.Group)
    del file[name]
    if is_group:
        file[name] = np.arange(3.0)
    else:
        file.create_group(f"{name}/{rng.choice(['a', 'value', 'definition'])}")


def of_other_type(file, name, rng):
    """Write a dataset in a type that holds no numbers, or other ones."""
    shape = getattr(file[name], "shape", ())
    kinds = ("S5", "i1", "u8", "f2", "c16", "V7", "?", [("a", "f8"), ("b", "S3")],
             h5py.string_dtype(), h5py.vlen_dtype("f8"), h5py.ref_dtype, "text",
             h5py.regionref_dtype, h5py.enum_dtype({"a": 1, "b": 2}))  # fmt: skip
    kind = kinds[rng.integers(len(kinds))]
    del file[name]
    if kind == "text":
        file[name] = "x" * int(rng.integers(1, 100))
        return
    dataset = file.create_dataset(name, shape, dtype=kind)
    if kind is h5py.ref_dtype and shape == ():
        dataset[()] = file.ref


def of_other_shape(file, name, rng):
    """Write a dataset in another shape."""
    values = np.asarray(file[name][()]) if isinstance(file[name], h5py.Dataset) else 1.0
    values = np.asarray(values)
    shapes = (values.T, values[..., None], values.ravel(), values.ravel()[:1],
              values.ravel()[:0], values.ravel()[:-1], np.zeros((1,) * 8),
              np.concatenate([values.ravel(), values.ravel()]))  # fmt: skip
    if rng.integers(9):
        _write(file, name, shapes[rng.integers(len(shapes))])
    else:
        _write(file, name, h5py.Empty("f8"))


def huge(file, name, rng):
    """Announce more than the file holds."""
    shape = list(getattr(file[name], "shape", ()) or (1,))
    shape[rng.integers(len(shape))] = 1 << int(rng.integers(16, 50))
    del file[name]
    settings = ({}, {"chunks": True}, {"chunks": True, "compression": "gzip"})
    file.create_dataset(name, shape, dtype="f8", **settings[rng.integers(3)])


def compressed(file, name, rng):
    """Write what compresses a thousandfold."""
    _write(file, name, np.zeros((1 << 20,)), compression="gzip", compression_opts=9)


def values(file, name, rng):
    """Put extreme numbers in, or another order."""
    array = np.asarray(file[name][()]) if isinstance(file[name], h5py.Dataset) else 0.0
    if np.asarray(array).dtype.kind not in "fiub":
        return
    array = np.array(array, dtype=float)
    flat = array.reshape(-1)
    if rng.integers(3) and flat.size:
        places = rng.integers(0, flat.size, rng.integers(1, 4))
        flat[places] = NUMBERS[rng.integers(len(NUMBERS))]
    elif rng.integers(2):
        flat[:] = flat[::-1].copy()
    else:
        flat[:] = NUMBERS[rng.integers(len(NUMBERS))]
    _write(file, name, array)


def mark(file, name, rng):
    """Change the attributes of something, or of the root."""
    holder = file if rng.integers(2) else file[name]
    keys = [*holder.attrs, "units", "NX_class", "long_name"]
    key = keys[rng.integers(len(keys))]
    contents = (3, 1e308, np.arange(3), "x" * 1000, b"\xff\xfe", "", h5py.Empty("S1"),
                np.array([b"mev"]), np.zeros((2, 2), "S3"), file.ref, True,
                np.array(["a", "b"], dtype=h5py.string_dtype()), np.nan,
                np.zeros(2, [("a", "f8")]))  # fmt: skip
    holder.attrs[key] = contents[rng.integers(len(contents))]


def link(file, name, rng):
    """Link to something else, to itself, or out of the file."""
    names = _names(file)
    if not rng.integers(3):  # add an entry instead
        name = "another"
    else:
        del file[name]
    targets = (h5py.SoftLink("/" + name), h5py.SoftLink("/nowhere"),
               h5py.ExternalLink("/etc/passwd", "/"),
               h5py.ExternalLink("other.h5", "/data"), file["/"],
               h5py.SoftLink("/" + names[rng.integers(len(names))]))  # fmt: skip
    file[name] = targets[rng.integers(len(targets))]


def elsewhere(file, name, rng):
    """Keep the values of a dataset in another file."""
    shape = getattr(file[name], "shape", ()) or (3,)
    del file[name]
    if rng.integers(2):
        layout = h5py.VirtualLayout(shape, "f8")
        layout[...] = h5py.VirtualSource("other.h5", "a", shape)
        file.create_virtual_dataset(name, layout)
    else:
        external = [("/dev/zero", 0, h5py.h5f.UNLIMITED)]
        file.create_dataset(name, shape, "f8", external=external)


STRUCTURE = (remove, exchange, of_other_type, of_other_shape, huge, compressed, values,
             values, mark, link, elsewhere)  # fmt: skip


def _names(file):
    names = []
    file.visit(names.append)
    return names


def through_hdf5(content, rng):
    """Return a file with one or two things changed, and what was done."""
    done, image = [], io.BytesIO(content)
    try:
        with h5py.File(image, "r+") as file:
            for _ in range(rng.integers(1, 3)):
                names = _names(file)
                change = STRUCTURE[rng.integers(len(STRUCTURE))]
                name = names[rng.integers(len(names))]
                done.append(f"{change.__name__} {name}")
                change(file, name, rng)
    except Exception:  # HDF5 does not allow all of them: what was done stands
        done[-1:] = [f"{each} (in part)" for each in done[-1:]]
    return image.getvalue(), done


def mutate(content, seed):
    """Return a mutation of a file, the same for a seed, and what was done to it."""
    rng = np.random.default_rng(seed)
    structured, done = rng.integers(2), []
    if structured:
        hdf5 = content.startswith(b"\x89HDF")
        content, done = (through_hdf5 if hdf5 else in_its_own_way)(content, rng)
    content = bytearray(content)
    if not structured or not rng.integers(8):
        for _ in range(rng.integers(1, 3)):
            change = BYTES[rng.integers(len(BYTES))]
            if content:
                change(content, rng)
                done.append(change.__name__)
    return bytes(content), done


# Reading them


def outcome(read, path):
    """Return what a reader does with a file: "ok", or the name of an error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except ValueError as error:
        return "ValueError", str(error)
    except OSError as error:
        return "OSError", str(error)
    except BaseException as error:  # all that must not be
        lines = traceback.format_exception(error)
        return type(error).__name__, "".join(lines[-3:])
    return "ok", ""


def child(seed, tasks, extra, pipe):
    """Read mutations, and say before and after each which one it is."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    files = {name: sound_files(name) + extra for name in {name for name, _ in tasks}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutated"
        for task in tasks:
            name, number = task
            sound = files[name][number % len(files[name])]
            content, done = mutate(sound, [seed, number])
            path.write_bytes(content)
            pipe.send((task, "start", done))
            start = perf_counter()
            pipe.send((task, *outcome(FORMATS[name][1], path), perf_counter() - start))
    pipe.send((None,))


def run(tasks, seed=0, extra=()):
    """Yield what readers do with mutations.

    Parameters
    ----------
    tasks : list of tuple
        Names of formats, and numbers of mutations.
    seed : int
        Makes other mutations of the same numbers.
    extra : list of bytes
        More sound files.

    Yields
    ------
    tuple
        The task, the outcome, its message, what was done to the file, seconds.
    """
    tasks, context = list(tasks), multiprocessing.get_context("spawn")
    while tasks:
        ours, theirs = context.Pipe(duplex=False)
        arguments = (seed, tasks, list(extra), theirs)
        worker = context.Process(target=child, args=arguments)
        worker.start()
        theirs.close()
        done, task = None, tasks[0]
        while True:
            if not ours.poll(TIME if done else START):
                yield task, "hang", f"more than {TIME:g} s", done, TIME
                break
            try:
                received = ours.recv()
            except EOFError:
                worker.join()
                yield task, "crash", f"exit code {worker.exitcode}", done, 0.0
                break
            if received[0] is None:
                task = None
                break
            task = received[0]
            if received[1] == "start":
                done = received[2]
            else:
                yield task, *received[1:3], done, received[3]
        worker.kill()
        worker.join()
        ours.close()
        tasks = [] if task is None else tasks[tasks.index(task) + 1 :]


def main():
    """Print counts of outcomes a format, and every one that must not be."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help="default: all")
    parser.add_argument("--number", type=int, default=10_000, help="of mutations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="read one, and say all of it")
    parser.add_argument("--files", nargs="+", default=[], help="more sound files")
    arguments = parser.parse_args()
    extra = [Path(path).read_bytes() for path in arguments.files]
    numbers = range(arguments.number)
    if arguments.only is not None:
        numbers = [arguments.only]
    for name in arguments.formats or FORMATS:
        tasks = [(name, number) for number in numbers]
        counts, slowest, start = Counter(), 0.0, perf_counter()
        for task, kind, message, done, seconds in run(tasks, arguments.seed, extra):
            counts[kind] += 1
            slowest = max(slowest, seconds)
            if kind not in ALLOWED or arguments.only is not None:
                print(*task, kind, f"after {done}: {message}", flush=True)
        print(
            f"{name}: {', '.join(f'{n} {kind}' for kind, n in counts.most_common())}; "
            f"slowest {slowest:.2f} s, {perf_counter() - start:.0f} s in all",
            flush=True,
        )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
