"""Files of phonopy: crystals with force constants, or with forces that give them.

Whatever a file holds, reading it raises ValueError or OSError, and runs none of it:
phonopy's own reader of YAML lets a file call any function of Python.
"""

import os
import re
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

_TEXT = 65536  # bytes, in which a kind of text file shows
_KINDS = {
    "BORN": "a BORN file, of Born charges. Read everything with phonopy, "
    "phonopy.load(path, born_filename=..., force_constants_filename=...), and pass "
    "the object",
    "YAML": "a YAML file. Pass it as the first argument if it holds the crystal too; "
    "if not, write its constants as FORCE_CONSTANTS",
}


class Constants(NamedTuple):
    """Force constants of a file, in the unit of the calculator or the one named."""

    values: np.ndarray  # (n_rows, n_sites, 3, 3)
    rows: np.ndarray | None  # (n_rows,): numbers of the sites that have rows
    unit: str | None


def load_phonopy(path, force_constants=None):
    """Read a phonopy YAML file, and nothing that merely lies beside it."""
    with _refusing(path, "a phonopy YAML file of a crystal"):
        content = _read_yaml(path)
    given = _given_constants(force_constants, content, path)
    with _refusing(path, "a phonopy YAML file of a crystal and its force constants"):
        return _assembled(content, given)


def _assembled(content, given):
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
        phonons.nac_params = {"factor": units.nac_factor, **content.nac_params}
    if isinstance(given, Constants):
        phonons.force_constants = _converted(given, phonons)
    else:
        _produce_constants(phonons, given)
    return phonons


def _read_yaml(path):
    """Return what a YAML file holds, as phonopy understands it."""
    import yaml
    from phonopy.file_IO import get_io_module_to_decompress
    from phonopy.interface.phonopy_yaml import load_phonopy_yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with get_io_module_to_decompress(path).open(path, "rb") as file:
        data = yaml.load(file, Loader=loader)
    if not isinstance(data, dict):
        raise ValueError("it holds no table of names and values")
    units = data.get("physical_unit")
    for name, unit in units.items() if isinstance(units, dict) else ():
        if isinstance(unit, str):  # older files have a capital letter
            units[name] = re.sub("angstrom", "angstrom", unit, flags=re.IGNORECASE)
    content = load_phonopy_yaml(data)
    _check_content(content)
    return content


def _check_content(content):
    for name, value in (
        ("supercell (no supercell_matrix)", content.supercell_matrix),
        ("unit cell", content.unitcell),
    ):
        if value is None:
            raise ValueError(
                f"it must hold a {name.partition(' (')[0]}, got no {name}. Write the "
                "file with phonopy after the force constants were made"
            )
    cell = content.unitcell
    if getattr(cell, "has_weighted_species", False):
        raise ValueError("its sites are mixtures of elements, which no model describes")
    numbers = [cell.cell, cell.scaled_positions, cell.masses]
    if content.nac_params is not None:
        numbers += [content.nac_params["born"], content.nac_params["dielectric"]]
        numbers += [float(content.nac_params.get("factor") or 1.0)]
    if content.force_constants is not None:
        numbers.append(content.force_constants)
    if not all(np.isfinite(np.asarray(part, dtype=float)).all() for part in numbers):
        raise ValueError("a number in it is not finite")


def _primitive_matrix(content, given):
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


def _given_constants(path, content, yaml_path):
    """Return force constants, or the displacements and forces that give them."""
    from phonopy.structure.dataset import forces_in_dataset

    n_sites = len(content.unitcell) * round(
        abs(np.linalg.det(content.supercell_matrix.astype(float)))
    )
    if path is not None:
        with _refusing(path, "a file of force constants"):
            return _read_constants(path, n_sites)
    if content.force_constants is not None:
        return Constants(content.force_constants, None, None)
    with _refusing(yaml_path, "a phonopy YAML file of a crystal and forces"):
        if forces_in_dataset(content.dataset):
            return content.dataset
    raise ValueError(
        f"{yaml_path} holds no force constants and no forces. Name the file that does: "
        "force_constants='force_constants.hdf5'."
    )


def _read_constants(path, n_sites):
    """Read force constants or FORCE_SETS; the content says which, not the name."""
    import h5py
    from phonopy.file_IO import parse_FORCE_CONSTANTS, parse_FORCE_SETS

    if h5py.is_hdf5(path):
        return _read_hdf5(path, n_sites)
    kind = _kind_of_text(path)
    if kind == "FORCE_SETS":
        return parse_FORCE_SETS(filename=path, natom=n_sites)
    if kind != "FORCE_CONSTANTS":
        raise ValueError(f"it is {_KINDS.get(kind, 'of no kind known here')}")
    with open(path) as file:
        header = [int(word) for word in file.readline().split()]
    if header[-1] != n_sites or header[0] > n_sites:
        raise ValueError(_other_crystal(header, n_sites))
    values = parse_FORCE_CONSTANTS(filename=path)
    return Constants(values, _first_sites(path, values), None)


def _read_hdf5(path, n_sites):
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
        if shape[1] != n_sites or shape[0] > n_sites:
            raise ValueError(_other_crystal(shape[:2], n_sites))
        rows, unit = file.get("p2s_map"), file.get("physical_unit")
        return Constants(
            np.asarray(stored[:], dtype=float),
            None if rows is None else np.ravel(rows[()]).astype(int),
            None if unit is None else np.ravel(unit[()])[0].decode("utf-8"),
        )


def _kind_of_text(path):
    """Return the kind of a text file of phonopy, None if it is none."""
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


def _first_sites(path, values):
    """Return the sites that have rows in FORCE_CONSTANTS, None if all of them have."""
    n_rows, n_sites = values.shape[:2]
    if n_rows == n_sites:
        return None
    with open(path) as file:
        heads = file.read().splitlines()[1 :: 4 * n_sites][:n_rows]
    return np.array([int(head.split()[0]) - 1 for head in heads])


def _converted(given, phonons):
    """Return constants in the unit of the calculator, of atoms of this crystal."""
    from phonopy.interface.calculator import get_force_constant_conversion_factor

    n_sites, sites = len(phonons.supercell), np.asarray(phonons.primitive.p2s_map)
    n_rows = len(given.values)
    if given.values.shape[1:2] != (n_sites,) or n_rows not in (n_sites, len(sites)):
        raise ValueError(_other_crystal(given.values.shape[:2], n_sites, len(sites)))
    partial = given.rows is not None and n_rows < n_sites
    if partial and not np.array_equal(given.rows, sites):
        raise ValueError(
            f"the constants must be of the atoms {sites.tolist()} of the supercell, "
            f"those of the primitive cell; got {given.rows.tolist()}. Make both with "
            "one primitive matrix"
        )
    if not np.isfinite(given.values).all():
        raise ValueError("a force constant is not finite")
    if given.unit is None:
        return given.values
    unit = re.sub("angstrom", "angstrom", given.unit, flags=re.IGNORECASE)
    return given.values * get_force_constant_conversion_factor(unit, phonons.calculator)


def _produce_constants(phonopy, dataset):
    """Turn forces into force constants as phonopy.load does."""
    phonopy.dataset = dataset
    # displacements of all atoms at once need a regression
    method = "symfc" if "displacements" in dataset else None
    phonopy.produce_force_constants(
        fc_calculator=method, calculate_full_force_constants=False
    )
    if method is None:
        phonopy.symmetrize_force_constants(show_drift=False, use_symfc_projector=True)


def _other_crystal(found, n_sites, n_atoms=None):
    rows = "" if n_atoms is None else f"{n_atoms} or {n_sites} by "
    return (
        f"the supercell of the crystal must have as many atoms as the constants, {rows}"
        f"{n_sites}; got constants of {found[0]} by {found[1]} atoms. Name the file "
        "that belongs to this crystal"
    )


@contextmanager
def _refusing(path: Any, expected: str):
    """Turn whatever a damaged file sets off into a ValueError that names it."""
    try:
        yield
    except (OSError, ImportError):
        raise
    except Exception as error:  # phonopy, PyYAML and h5py raise almost any
        text = str(error).rstrip(".") or type(error).__name__
        if not isinstance(error, ValueError):
            text = f"{type(error).__name__}: {text}"
        raise ValueError(
            f"{os.fspath(path)} must be {expected}: {text}."
        ) from error
