"""Force constants as files that phonopy reads."""

from pathlib import Path

__all__ = ["write_phonopy_files"]


def write_phonopy_files(model, folder, parameters=None):
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
    >>> from skphonon import load_aluminium_model, write_phonopy_files
    >>> from skphonon.physics.force_constants import ForceConstantModel
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
    path = folder / "phonopy_params.yaml"
    phonons.save(path, settings={"force_constants": True})
    write_FORCE_CONSTANTS(
        phonons.force_constants,
        filename=folder / "FORCE_CONSTANTS",
        p2s_map=phonons.primitive.p2s_map,
    )
    return path
