"""Files of phonopy: crystals with force constants, or with forces that give them.

Whatever a file holds, reading it raises ValueError or OSError, and runs none of it:
phonopy's own reader of YAML lets a file call any function of Python.
"""

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon._files import write_whole
from skphonon._warnings import warn_user

if TYPE_CHECKING:
    from phonopy import Phonopy

    from skphonon.physics.force_constants import ForceConstantModel

Array = NDArray[np.float64]
StrPath = str | os.PathLike[str]
Content = Any  # of a YAML file, as phonopy keeps it: its types change by version
Dataset = Any  # displacements and forces, as phonopy keeps them

_TEXT = 65536  # bytes, in which a kind of text file shows
_ARTICLES = {
    "BORN": "a BORN file, of Born charges",
    "FORCE_CONSTANTS": "a FORCE_CONSTANTS file, which force_constants takes",
    "FORCE_SETS": "a FORCE_SETS file, which force_constants takes",
    "HDF5": "an HDF5 file; force_constants takes one of force constants",
    "YAML": "a YAML file",
}
_INSTEAD = {
    "BORN": "Read everything with phonopy.load(path, born_filename=..., "
    "force_constants_filename=...) and pass the object that it returns",
    "YAML": "Pass it as the first argument, if it holds the crystal too",
}
_LARGEST_NUMBER = 1e12
_LARGEST = 1e5  # atoms in the box around a supercell
_SAME_STEP = 1e-4  # in the calculator's unit of length: displacements in two files
_LONGEST = 400  # characters of what another program says of a file


class Constants(NamedTuple):
    """Force constants of a file, in the unit of the calculator or the one named."""

    values: Array  # (n_rows, n_sites, 3, 3)
    rows: NDArray[np.intp] | None  # (n_rows,): numbers of the sites that have rows
    unit: str | None


def load_phonopy(path: StrPath, force_constants: StrPath | None = None) -> "Phonopy":
    """Read a phonopy YAML file, and nothing that merely lies beside it."""
    with _refusing(path, "a phonopy YAML file of a crystal"):
        content = _read_yaml(path)
    given = _given_constants(force_constants, content, path)
    if force_constants is not None and not _same_steps(given, content.dataset):
        warn_user(
            f"The displacements in {os.fspath(force_constants)} are not those in "
            f"{os.fspath(path)}, which are left aside: check that both files are of "
            "one crystal.",
            UserWarning,
        )
    with _refusing(path, "a phonopy YAML file of a crystal and its force constants"):
        return _assembled(content, given)


def _assembled(content: Content, given: Constants | Dataset) -> "Phonopy":
    from phonopy import Phonopy
    from phonopy.physical_units import get_calculator_physical_units

    phonons = Phonopy(
        content.unitcell,
        supercell_matrix=content.supercell_matrix,
        primitive_matrix=_primitive_matrix(content, given),
        calculator=content.calculator,
    )
    if content.nac_params is not None:
        units = get_calculator_physical_units(content.calculator)
        charges = np.shape(content.nac_params["born"])
        if charges != (len(phonons.primitive), 3, 3):
            raise ValueError(
                "it must hold Born charges of the "
                f"{len(phonons.primitive)} atoms of the primitive cell, got shape "
                f"{charges}"
            )
        phonons.nac_params = dict(factor=units.nac_factor) | content.nac_params
    with warnings.catch_warnings():  # the reader of charges has its own words
        warnings.filterwarnings("ignore", message="Symmetry of Born")
        if isinstance(given, Constants):
            phonons.force_constants = _converted(given, phonons)
        else:
            _produce_constants(phonons, given)
    return phonons


def _read_yaml(path: StrPath) -> Content:
    """Return what a YAML file holds, as phonopy understands it."""
    import yaml
    from phonopy.file_IO import get_io_module_to_decompress
    from phonopy.interface.phonopy_yaml import load_phonopy_yaml

    kind = _kind(path)
    if kind not in ("YAML", None):
        raise ValueError(
            f"it is {_ARTICLES[kind]}. Pass the YAML file that phonopy wrote of the "
            "crystal first"
        )
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with get_io_module_to_decompress(path).open(path, "rb") as file:
        text = file.read()
    data = yaml.load(text, Loader=loader)
    if not isinstance(data, dict):
        raise ValueError("it holds no table of names and values")
    if _n_leaves(data, {}) > len(text):
        raise ValueError("it repeats parts of itself, which phonopy never writes")
    units = data.get("physical_unit")
    units = units if isinstance(units, dict) else {}
    for name, unit in units.items():
        if isinstance(unit, str):  # older files have a capital letter
            units[name] = re.sub("angstrom", "angstrom", unit, flags=re.IGNORECASE)
    content = load_phonopy_yaml(data)
    _check_content(content)
    return content


def _check_content(content: Content) -> None:
    cell, matrix = content.unitcell, content.supercell_matrix
    if matrix is None or cell is None:
        raise ValueError(
            "it must hold a supercell and a unit cell, got no "
            f"{'supercell_matrix' if matrix is None else 'unit_cell'}. Write the file "
            "with phonopy after the force constants were made"
        )
    if getattr(cell, "has_weighted_species", False):
        raise ValueError("its sites are mixtures of elements, which no model describes")
    _check_supercell(np.asarray(matrix, dtype=float), len(cell))
    numbers: list[ArrayLike] = [cell.cell, cell.scaled_positions, cell.masses]
    if content.nac_params is not None:
        factor = float(content.nac_params.get("factor", 1.0))
        if not factor > 0:
            raise ValueError(f"unit_conversion_factor must be positive, got {factor}")
        numbers += [content.nac_params["born"], content.nac_params["dielectric"]]
        numbers += [factor]
    if content.force_constants is not None:
        numbers.append(content.force_constants)
    for part in numbers:
        _check_numbers(part)


def _check_supercell(matrix: Array, n_atoms: int) -> None:
    """Refuse what no one computes with: phonopy fills a box around a supercell."""
    if matrix.shape != (3, 3) or abs(np.linalg.det(matrix)) < 0.5:
        raise ValueError(
            "supercell_matrix must be 3 by 3 integers with a volume, got "
            f"{matrix.tolist()}"
        )
    box = np.abs(matrix).sum(axis=1).prod() * n_atoms
    if box > _LARGEST:
        raise ValueError(
            f"its supercell_matrix, {matrix.astype(int).tolist()}, spans {box:.1g} "
            "atoms. Choose vectors that are less skew"
        )


def _primitive_matrix(content: Content, given: Constants | Dataset) -> Any:
    """Return the primitive matrix that a file has, or means where it names none.

    phonopy took the whole unit cell before version 4, and a guess since.
    """
    from phonopy.structure.cells import guess_primitive_matrix

    if content.primitive_matrix is not None:
        return content.primitive_matrix
    if content.primitive is not None:
        return np.linalg.solve(content.unitcell.cell.T, content.primitive.cell.T)
    n_atoms, counts = len(content.unitcell), set()
    if isinstance(given, Constants):
        counts.add(len(given.values))
    if content.nac_params is not None:
        counts.add(len(content.nac_params["born"]))
    if n_atoms in counts:
        return np.eye(3)
    return guess_primitive_matrix(content.unitcell)


def _given_constants(
    path: StrPath | None, content: Content, yaml_path: StrPath
) -> Constants | Dataset:
    """Return force constants, or the displacements and forces that give them."""
    from phonopy.structure.dataset import forces_in_dataset

    matrix = np.asarray(content.supercell_matrix, dtype=float)
    n_sites = len(content.unitcell) * round(abs(np.linalg.det(matrix)))
    if path is not None:
        with _refusing(path, "a file of the force constants of this crystal"):
            given = _read_constants(path, n_sites)
            _check_forces(given, n_sites)
            return given
    with _refusing(yaml_path, "a phonopy YAML file of a crystal and force constants"):
        if content.force_constants is not None:
            _check_size(content.force_constants.shape[:2], n_sites)
            return Constants(content.force_constants, None, None)
        if forces_in_dataset(content.dataset):
            _check_forces(content.dataset, n_sites)
            return content.dataset
    raise ValueError(
        f"{yaml_path} holds no force constants and no forces. Name the file that does: "
        "force_constants='force_constants.hdf5'."
    )


def _read_constants(path: StrPath, n_sites: int) -> Constants | Dataset:
    """Read force constants or FORCE_SETS; the content says which, not the name."""
    from phonopy.file_IO import parse_FORCE_SETS

    kind = _kind(path) or ""
    if kind == "HDF5":
        return _read_hdf5(path, n_sites)
    if kind == "FORCE_SETS":
        return parse_FORCE_SETS(filename=path)
    if kind != "FORCE_CONSTANTS":
        raise ValueError(
            f"it is {_ARTICLES.get(kind, 'of an unknown kind')}. "
            + _INSTEAD.get(
                kind, "force_constants.hdf5, FORCE_CONSTANTS and FORCE_SETS can be read"
            )
        )
    return _read_text(path, n_sites)


def _read_text(path: StrPath, n_sites: int) -> Constants:
    """Read FORCE_CONSTANTS: a header, then the numbers of two atoms and a tensor."""
    head, _, body = Path(path).read_text().lstrip().partition("\n")
    counts = [int(word) for word in head.split()]
    n_rows = counts[0]
    _check_size((n_rows, counts[-1]), n_sites)
    numbers = np.array(body.split(), dtype=float)
    if numbers.size != 11 * n_rows * n_sites:
        raise ValueError(
            f"it must hold {n_rows * n_sites} tensors, each after the numbers of its "
            f"two atoms; got {numbers.size} numbers instead of {11 * n_rows * n_sites}"
        )
    blocks = numbers.reshape(n_rows, n_sites, 11)
    values = blocks[..., 2:].reshape(n_rows, n_sites, 3, 3)
    return Constants(values, blocks[:, 0, 0].astype(int) - 1, None)


def _read_hdf5(path: StrPath, n_sites: int) -> Constants:
    import h5py

    with h5py.File(path, "r") as file:
        stored = file.get("fc2", file.get("force_constants"))
        if not isinstance(stored, h5py.Dataset):
            raise ValueError("it holds neither force_constants nor fc2")
        shape = stored.shape
        if len(shape) != 4 or shape[2:] != (3, 3) or stored.dtype.kind not in "fi":
            raise ValueError(
                "its force constants must be numbers of shape (n_atoms, n_sites, 3, "
                f"3), got {stored.dtype} of shape {shape}"
            )
        _check_size(shape[:2], n_sites)
        rows, unit = file.get("p2s_map"), file.get("physical_unit")
        return Constants(
            np.asarray(stored[:], dtype=float),
            None if rows is None else np.ravel(rows[()]).astype(int),
            None if unit is None else np.ravel(unit[()])[0].decode("utf-8"),
        )


def _kind(path: StrPath) -> str | None:
    """Return the kind of a file of phonopy, None if it is none or compressed."""
    import h5py

    if h5py.is_hdf5(path):
        return "HDF5"
    with open(path, "rb") as file:
        text = file.read(_TEXT).decode("utf-8", errors="replace")
    if re.search(r"^\w+:", text, re.MULTILINE):
        return "YAML"
    rows = [line.split() for line in text.splitlines() if line.strip()][:4]
    lengths = [len(row) for row in rows]
    if lengths[1:3] == [9, 9]:
        return "BORN"
    if lengths[:4] in ([1, 2, 3, 3], [2, 2, 3, 3]):
        return "FORCE_CONSTANTS"
    if lengths[:4] == [1, 1, 1, 3] or lengths[:2] == [6, 6]:
        return "FORCE_SETS"
    return None


def _converted(given: Constants, phonons: "Phonopy") -> Array:
    """Return constants in the unit of the calculator, of atoms of this crystal."""
    from phonopy.interface.calculator import get_force_constant_conversion_factor

    n_sites, sites = len(phonons.supercell), np.asarray(phonons.primitive.p2s_map)
    n_rows = len(given.values)
    rows = np.arange(n_rows) if given.rows is None else given.rows
    if n_rows not in (n_sites, len(sites)):
        raise ValueError(
            f"force constants must have {len(sites)} rows, atoms of the primitive "
            f"cell, or {n_sites}, of the supercell; got {n_rows}"
        )
    if given.rows is not None and n_rows < n_sites and not np.array_equal(rows, sites):
        raise ValueError(
            f"force constants must be of the atoms {sites.tolist()} of the supercell, "
            f"those of the primitive cell; got {rows.tolist()}. Make both with one "
            "primitive matrix"
        )
    _check_numbers(given.values)
    if given.unit is None:
        return given.values
    unit = re.sub("angstrom", "angstrom", given.unit, flags=re.IGNORECASE)
    return given.values * get_force_constant_conversion_factor(unit, phonons.calculator)


def _produce_constants(phonopy: "Phonopy", dataset: Dataset) -> None:
    """Turn forces into force constants as phonopy.load does."""
    phonopy.dataset = dataset
    # displacements of all atoms at once need a regression
    method: Any = "symfc" if "displacements" in dataset else None
    phonopy.produce_force_constants(
        fc_calculator=method, calculate_full_force_constants=False
    )
    if method is None:
        phonopy.symmetrize_force_constants(show_drift=False, use_symfc_projector=True)


def _check_forces(given: Constants | Dataset, n_sites: int) -> None:
    """Raise if displacements and forces are not of the sites of this supercell."""
    if isinstance(given, Constants):
        return
    if "first_atoms" in given:
        sets = [(one["forces"], one["displacement"]) for one in given["first_atoms"]]
        numbers = [one["number"] for one in given["first_atoms"]]
        fits = all(
            np.shape(forces) == (n_sites, 3) and np.shape(step) == (3,)
            for forces, step in sets
        ) and all(0 <= number < n_sites for number in numbers)
        given["natom"] = n_sites
    else:
        if np.ndim(given["forces"]) == 2 and len(given["forces"]) % n_sites == 0:
            for name in ("displacements", "forces"):
                given[name] = np.reshape(given[name], (-1, n_sites, 3))
        sets = [(given["forces"], given["displacements"])]
        fits = all(np.shape(part)[1:] == (n_sites, 3) for part in sets[0])
    if not fits:
        raise ValueError(
            f"forces must be of the {n_sites} atoms of the supercell of this crystal; "
            "got others. Name the file that belongs to it"
        )
    for one in sets:
        for part in one:
            _check_numbers(part)


def _same_steps(given: Constants | Dataset, dataset: Dataset | None) -> bool:
    """Tell whether forces go with the displacements beside the crystal, if any."""
    if isinstance(given, Constants) or not dataset:
        return True
    if "first_atoms" not in given or "first_atoms" not in dataset:
        return ("first_atoms" in given) == ("first_atoms" in dataset)
    first, second = (
        np.array([[one["number"], *one["displacement"]] for one in part["first_atoms"]])
        for part in (given, dataset)
    )
    return first.shape == second.shape and np.allclose(first, second, atol=_SAME_STEP)


def _check_numbers(values: ArrayLike) -> None:
    """Raise where a number cannot be one of a crystal in any unit."""
    array = np.abs(np.asarray(values, dtype=float))
    if not (array < _LARGEST_NUMBER).all():  # NaN is not below it, either
        raise ValueError(
            f"its numbers must be finite and below {_LARGEST_NUMBER:g}, got "
            f"{array[~(array < _LARGEST_NUMBER)].flat[0]:g}"
        )


def _check_size(found: Sequence[int], n_sites: int) -> None:
    """Raise if constants are not of the sites of this supercell."""
    if len(found) != 2 or found[1] != n_sites or not 0 < found[0] <= n_sites:
        raise ValueError(
            f"force constants must be of the {n_sites} atoms of the supercell of this "
            f"crystal, or of the primitive ones and those; got {tuple(found)}. Name "
            "the file that belongs to it"
        )


def _n_leaves(node: object, known: dict[int, float]) -> float:
    """Count the values of nested tables, repeated ones each time; `known` by id."""
    if not isinstance(node, dict | list):
        return 1
    if id(node) not in known:
        known[id(node)] = float("inf")  # while it is counted: it holds itself
        parts = node.values() if isinstance(node, dict) else node
        known[id(node)] = sum(_n_leaves(part, known) for part in parts)
    return known[id(node)]


@contextmanager
def _refusing(path: StrPath, expected: str) -> Iterator[None]:
    """Turn whatever a damaged file sets off into a ValueError that names it."""
    try:
        yield
    except (OSError, ImportError):
        raise
    except Exception as error:  # phonopy, PyYAML and h5py raise almost any
        text = " ".join(str(error).split())[:_LONGEST].rstrip(".")
        if not isinstance(error, ValueError):
            text = f"{type(error).__name__}: {text}"
        raise ValueError(f"{os.fspath(path)} must be {expected}: {text}.") from error


def write_phonopy_files(
    model: "ForceConstantModel",
    folder: StrPath,
    parameters: ArrayLike | None = None,
) -> Path:
    """Write ``phonopy_params.yaml`` and ``FORCE_CONSTANTS`` into a folder.

    The first holds all that phonopy needs: the crystal, its primitive cell and
    supercell, the force constants, and any Born charges and dielectric tensor;
    ``phonopy.load("phonopy_params.yaml")`` reads it. The second holds the force
    constants alone, in the text format that many codes read. Files of these names are
    replaced.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    folder : path-like
        Where to; it is made if it does not exist.
    parameters : array-like of shape (n_parameters,), default=None
        Constants in eV/Angstrom^2; None takes the reference of the model.

    Returns
    -------
    Path
        The YAML file.

    Raises
    ------
    ValueError
        If more than one parameter set is given, or Born charges tie the constants to a
        supercell that cannot hold them.

    See Also
    --------
    ForceConstantModel.from_phonopy : Reads the files back.

    Examples
    --------
    >>> import tempfile
    >>> from skphonon import load_aluminium_model
    >>> from skphonon.physics import write_phonopy_files
    >>> from skphonon.physics import ForceConstantModel
    >>> model = load_aluminium_model()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_phonopy_files(model, folder)
    ...     back = ForceConstantModel.from_phonopy(path)
    >>> bool(abs(back.reference - model.reference).max() < 1e-12)
    True
    """
    from phonopy.file_IO import write_FORCE_CONSTANTS

    phonons = model.to_phonopy(parameters)
    if isinstance(phonons, list):
        raise ValueError(
            f"parameters must be one set, shape ({len(model.parameter_names)},), got "
            f"{len(phonons)} of them. Write each into a folder of its own."
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as aside:
        written = Path(aside) / "phonopy_params.yaml", Path(aside) / "FORCE_CONSTANTS"
        phonons.save(written[0], settings={"force_constants": True})
        write_FORCE_CONSTANTS(
            phonons.force_constants,
            filename=written[1],
            p2s_map=phonons.primitive.p2s_map,
        )
        for path in written:
            write_whole(folder / path.name, path.read_bytes())
    return folder / written[0].name
