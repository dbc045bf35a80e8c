"""Modules and names of skphonon 0.1, and where they are now.

Pickles name the module of every class in them, so those of 0.1 end here too.
"""

import functools
import sys
from importlib.abc import MetaPathFinder

__all__ = ["missing", "renamed", "watch", "where_now"]

_MODULES = {
    "_autoencoder": "learning",
    "_gappy_amounts": "learning",
    "_gappy_basis": "learning",
    "_gappy_codes": "learning",
    "_gappy_regression": "learning.spectrum_regression",
    "_gappy_views": "learning",
    "_networks": "learning",
    "_persistence": "persistence",
    "_simulations": "learning",
    "_tensor_file": "persistence",
    "_training": "learning",
    "_training_box": "learning",
    "_typicality": "learning.novelty",
    "datasets._arrays": "io.arrays",
    "datasets._hdf5": "io",
    "datasets._hdf5_heaps": "io",
    "datasets._kinds": "io",
    "datasets._mantid": "io.mantid",
    "datasets._nxspe": "io.nxspe",
    "datasets._priors": "physics.priors",
    "datasets._reduction": "io.rebinning",
    "datasets._variation": "instrument.augmentation",
    "features": "learning.features",
    "gappy": "learning.features",
    "inversion._least_squares": "inversion.least_squares",
    "inversion._nelder_mead": "inversion.nelder_mead",
    "inversion._pixels": "inversion.pixels",
    "model_cards": "persistence",
    "model_files": "persistence",
    "phonopy_files": "physics.phonopy_io",
    "physics._force_fits": "physics.force_fits",
    "physics._phonopy_io": "physics.phonopy_io",
    "physics._supercells": "physics.supercells",
    "physics._symmetry": "physics.symmetry",
    "physics.lattice_dynamics": "physics.dynamical_matrix",
    "physics.magnon_lines": "physics.magnon_modes",
    "physics.mode_pairs": "physics.modes",
    "physics.thermodynamics": "physics.zone.thermodynamics",
    "recipes": "learning.recipes",
    "regression": "learning.regression",
    "simulation._base": "simulation.base",
    "simulation._mesh_choice": "physics.zone",
    "simulation._nuisance": "instrument.nuisance",
    "simulation._phonon_amplitudes": "simulation",
    "simulation.angle_grid": "instrument.angle_grid",
    "simulation.crystal_grid": "instrument.crystal_grid",
    "simulation.grid": "instrument.grid",
    "simulation.resolution": "instrument.resolution",
    "surrogate": "learning.surrogate",
}

_ELSEWHERE = {  # what was in an old module, and is not where the rest of it went
    "physics.lattice_dynamics": "signed_sqrt is in skphonon.physics.modes",
    "physics.thermodynamics": "its functions are methods of PhononProperties there",
    "regression": "SpectrumRegressor is in skphonon.learning.spectrum_regression",
}

_GONE = {
    "GappySpectrumExtractor": 'VAEFeatureExtractor(inference="posterior"), with '
    "network=Dense(...), inference=PosteriorInference(...) and 24 components,"
}

_NAMES = {
    "skphonon": {
        "calibration": "CalibratedRegressor",
        "datasets": (
            "IncompleteDatasetWarning PowderSpectraStore bvk_from_label fetch_la2nio4 "
            "load_la2nio4_model make_crystal_spectra open_powder_spectra "
            "sample_force_constants write_powder_spectra"
        ),
        "inspection": (
            "DensityOfStatesDisplay ElasticConstantsDisplay HeatCapacityDisplay "
            "LatentCodesDisplay LatentCorrelationDisplay LatentSensitivityDisplay "
            "LatentTraversalDisplay ParameterDraws PhononBandsDisplay "
            "ReliabilityDisplay SpectrumProfilesDisplay TemperatureTrendsDisplay "
            "ThermalDisplacementsDisplay active_dimensions draw_parameters "
            "high_symmetry_path latent_correlation latent_sensitivity latent_traversal"
        ),
        "instrument": (
            "AngleGrid DetectorMeasurement MeasurementWarning PolynomialResolution "
            "TabulatedResolution instrument_resolution"
        ),
        "inversion": "BoundWarning IdentifiabilityWarning MisfitWarning",
        "io": "read_arrays write_arrays",
        "learning": (
            "ExtrapolationWarning OutOfDistributionWarning fine_tune su_li_2024"
        ),
        "metrics": "ResimulationScorer",
        "persistence": "TRUSTED_TYPES VersionMismatchWarning attach_card describe",
        "physics": (
            "ForceConstantPrior UnstableCrystalWarning ZoneMesh write_phonopy_files"
        ),
        "preprocessing": "normalize_spectra",
    },
    "skphonon.datasets": {
        "io": (
            "read_arrays read_mdhisto read_nxspe reduce_crystal reduce_powder "
            "write_arrays"
        ),
        "physics": "ForceConstantPrior",
    },
    "skphonon.simulation": {
        "instrument": (
            "AngleGrid CrystalGrid PathGrid PolynomialResolution SpectrumGrid "
            "TabulatedResolution instrument_resolution"
        ),
        "physics": "UnstableCrystalWarning ZoneMesh",
    },
    "skphonon.physics.zone": {
        "physics.zone.displacements": (
            "ThermalTensors displacement_components thermal_amplitudes"
        ),
        "physics.zone.mesh": (
            "MeshPoints as_mesh labels laue_rotations mesh_points mesh_sizes "
            "size_of_reach stars"
        ),
    },
}


_HOMES = {
    f"{old}.{name}": home
    for old, homes in _NAMES.items()
    for home, names in homes.items()
    for name in names.split()
}


class _OldNames(MetaPathFinder):
    """Refuse to import modules and names of 0.1, and say where they are.

    A name that a package lacks is looked for as a module of it, and so comes here too.
    """

    def find_spec(self, fullname, path=None, target=None):
        package, _, rest = fullname.partition(".")
        if package != __name__.partition(".")[0]:
            return None
        if rest in _MODULES:
            raise ImportError(
                f"{where_now(fullname)}. A pickle that asks for it was written by "
                "skphonon 0.1: load it with that version, or make it again.",
                name=fullname,
            )
        if fullname in _HOMES or fullname.rpartition(".")[2] in _GONE:
            raise ImportError(f"{where_now(fullname)}.", name=fullname)
        return None


def watch():
    """Answer imports of old modules and names that no finder has found."""
    if not any(type(finder) is _OldNames for finder in sys.meta_path):
        sys.meta_path.append(_OldNames())


def where_now(fullname):
    """Tell where a name or module of 0.1 is now; an empty string if it was none."""
    package, _, rest = fullname.partition(".")
    if rest in _MODULES:
        more = f"; {_ELSEWHERE[rest]}" if rest in _ELSEWHERE else ""
        return (
            f"{fullname} is {package}.{_MODULES[rest]} since skphonon 0.2: import from "
            f"there{more}"
        )
    name = fullname.rpartition(".")[2]
    if name in _GONE:
        return f"{name} is {_GONE[name]} since skphonon 0.2."
    if fullname not in _HOMES:
        return ""
    room = f"skphonon.{_HOMES[fullname]}"
    return f"{name} is in {room} since skphonon 0.2: from {room} import {name}"


def missing(package):
    """Return the `__getattr__` of a package that tells where its old names are."""

    def refuse(name):
        advice = where_now(f"{package}.{name}")
        raise AttributeError(
            advice or f"module {package!r} has no attribute {name!r}", name=name
        )

    return refuse


def renamed(**names):
    """Make old keywords of a function raise a TypeError that names the new ones."""

    def decorate(function):
        @functools.wraps(function)
        def call(*arguments, **keywords):
            for old in names.keys() & keywords.keys():
                raise TypeError(
                    f"{function.__name__} takes {names[old]}, which was {old} in "
                    "skphonon 0.1."
                )
            return function(*arguments, **keywords)

        return call

    return decorate
