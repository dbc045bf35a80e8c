"""Several measurements of one sample as one row of spectra."""

from collections.abc import Mapping

import numpy as np
from scipy.linalg import block_diag

from skphonon._validation import at_least, check_parameters, parameter_rows
from skphonon.simulation.base import Simulator

__all__ = ["JointSimulator"]


class JointSimulator(Simulator):
    """Simulate several measurements of one sample, one beside the other in a row.

    Measurements may differ in temperature, incident energy, grid and all else that a
    simulator sets. They share their parameters, or a parameter is a polynomial in a
    quantity such as the temperature (`at`). It is given by its values at `degree` + 1
    places, evenly spaced from the lowest to the highest of `at`: in the unit of the
    parameter, with its reference and its bounds.

    :class:`~skphonon.inversion.LeastSquaresInverter` gives each measurement a scale, a
    background and a noise of its own.

    Parameters
    ----------
    simulators : dict
        From names of the measurements to simulators of the same parameters, such as
        :class:`PowderSimulator`.
    at : array-like of shape (n_measurements,), default=None
        Place of each measurement, such as its temperature in K. Not needed where all
        parameters are shared.
    degree : int or dict, default=0
        Of the polynomials: of all parameters, or from some of their names to theirs,
        others being 0. Less than the number of different places.
    shared_nuisances : sequence of str, default=()
        Nuisances that have one value for all measurements, such as the scale of a
        lattice that two incident energies saw. Of others each has its own, named
        ``"energy_resolution (50 K)"`` for the measurement named ``"50 K"``.

    See Also
    --------
    LeastSquaresInverter : Takes this in the place of a single simulator.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import JointSimulator, PowderSimulator, SpectrumGrid
    >>> from skphonon import load_aluminium_model
    >>> grid = SpectrumGrid(np.arange(10, 45, 5.0), np.arange(1, 8, 1.0))
    >>> model = load_aluminium_model()
    >>> cold, hot = (
    ...     PowderSimulator(model, grid, temperature=kelvin, energy_resolution=1.54)
    ...     for kelvin in (50, 640)
    ... )
    >>> joint = JointSimulator(
    ...     {"50 K": cold, "640 K": hot}, at=[50, 640], degree={"1XX": 1}
    ... )
    >>> joint.parameter_names
    ['1XX at 50', '1XX at 640', '1ZZ', '1XY', '2XX', '2YY']
    >>> joint.simulate([joint.reference]).shape
    (1, 98)
    >>> bool(np.allclose(joint.parameters_at([joint.reference], 300), cold.reference))
    True
    """

    _parameter_constraints = {
        "simulators": [Mapping],
        "at": ["array-like", None],
        "degree": [at_least(0), dict],
        "shared_nuisances": [list, tuple],
    }

    def __init__(self, simulators, *, at=None, degree=0, shared_nuisances=()):
        self.simulators = simulators
        self.at = at
        self.degree = degree
        self.shared_nuisances = shared_nuisances

    @property
    def parameter_names(self):
        """Names of the parameters: shared ones as they are, others ``"1XX at 50"``."""
        names = []
        for name, places in self._places().items():
            names += (
                [name] if len(places) == 1 else [f"{name} at {p:g}" for p in places]
            )
        return names

    @property
    def reference(self):
        """Reference values of the parameters."""
        base = next(iter(self._checked().values())).reference
        n_places = [len(places) for places in self._places().values()]
        return np.repeat(np.asarray(base, dtype=float), n_places)

    @property
    def nuisance_names(self):
        """Names of what else may differ: shared ones, then those of measurements."""
        return list(self._nuisances())

    @property
    def nuisance_reference(self):
        """Values of what `nuisance_names` names, where nothing else is asked for."""
        simulators = self._checked()
        values = []
        for owners in self._nuisances().values():
            measurement, name = owners[0]
            one = simulators[measurement]
            values.append(one.nuisance_reference[list(one.nuisance_names).index(name)])
        return np.array(values)

    @property
    def parts(self):
        """Pairs of a slice of a row and its simulator, by name of the measurement."""
        found, end = {}, 0
        for name, simulator in self._checked().items():
            begin, end = end, end + _n_pixels(simulator)
            found[name] = slice(begin, end), simulator
        return found

    def loosened(self, factor, *, nuisance=None, nuisance_ranges=None):
        """Return this simulator with the meshes of other tolerances.

        Parameters
        ----------
        factor : float
            Of the tolerance of each simulator.
        nuisance, nuisance_ranges : dict, default=None
            As for `simulate`, a number for each nuisance.

        Returns
        -------
        JointSimulator or None
            See :meth:`PowderSimulator.loosened`; None where no simulator has a choice.

        Raises
        ------
        ValueError
            As from `simulate`.
        """
        changed = [
            simulator.loosened(factor, **options)
            if hasattr(simulator, "loosened")
            else None
            for simulator, _, options, _ in self._each(nuisance, nuisance_ranges)
        ]
        return self._of(changed)

    def refined(self):
        """Return this simulator with finer meshes.

        Returns
        -------
        JointSimulator or None
            See :meth:`PowderSimulator.refined`; None where no simulator has one.
        """
        changed = [
            simulator.refined() if hasattr(simulator, "refined") else None
            for simulator in self._checked().values()
        ]
        return self._of(changed)

    def working_ranges(self, nuisance, nuisance_ranges):
        """Return parts of ranges that are cheaper to prepare for.

        Parameters
        ----------
        nuisance : dict
            Values of all that `nuisance_ranges` names, as for `simulate`.
        nuisance_ranges : dict
            Pairs of the least and the largest value.

        Returns
        -------
        dict
            Pairs that hold the values; see :meth:`PowderSimulator.working_ranges`.
        """
        found = dict(nuisance_ranges)
        for simulator, _, options, owned in self._each(nuisance, nuisance_ranges):
            if hasattr(simulator, "working_ranges") and owned:
                own = simulator.working_ranges(**options)
                names = zip(owned, options["nuisance"], strict=True)
                found |= {label: own[name] for label, name in names}
        return found

    def is_stable(self, parameters):
        """Tell whether the crystals of all measurements have real frequencies only.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Parameter sets.

        Returns
        -------
        ndarray of shape (n_samples,), bool
            True where each simulator that can tell says so.
        """
        rows = parameter_rows(parameters, self.parameter_names)
        stable = np.ones(len(rows), dtype=bool)
        for simulator, mixing, _, _ in self._each():
            if hasattr(simulator, "is_stable"):
                stable &= simulator.is_stable(rows @ mixing.T)
        return stable

    def join(self, spectra):
        """Put the spectra of all measurements side by side, as `simulate` does.

        Parameters
        ----------
        spectra : dict
            From names of measurements to arrays of shape (n_samples, n_pixels) or
            (n_pixels,), on the grids of their simulators. A measurement that is left
            out is NaN.

        Returns
        -------
        ndarray of shape (n_samples, n_pixels)
            Rows of all measurements.

        Raises
        ------
        ValueError
            If a name is unknown, or a spectrum has another number of pixels.
        """
        parts = self.parts
        unknown = set(spectra) - set(parts)
        if unknown or not spectra:
            raise ValueError(
                f"spectra must be named as the measurements, {', '.join(parts)}; got "
                f"{', '.join(map(str, spectra)) or 'none'}."
            )
        rows = {name: np.atleast_2d(each) for name, each in spectra.items()}
        n_samples = len(next(iter(rows.values())))
        n_pixels = max(pixels.stop for pixels, _ in parts.values())
        joined = np.full((n_samples, n_pixels), np.nan)
        for name, each in rows.items():
            pixels, _ = parts[name]
            expected = n_samples, pixels.stop - pixels.start
            if each.shape != expected:
                raise ValueError(
                    f"The spectra of {name!r} must have shape {expected}, got "
                    f"{each.shape}."
                )
            joined[:, pixels] = each
        return joined

    def parameters_at(self, parameters, at, covariance=None):
        """Return the parameters that a measurement would see.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters)
            Sets of the parameters here.
        at : float
            Place of the measurement, on the axis of `at`.
        covariance : array-like of shape (n_samples, n_parameters, n_parameters), \
                default=None
            Of the parameters here, such as `covariance_` of
            :class:`~skphonon.inversion.LeastSquaresInverter`.

        Returns
        -------
        values : ndarray of shape (n_samples, n_simulator_parameters)
            Parameters of the single simulators.
        covariance : ndarray of shape (n_samples, n_simulator_parameters, \
                n_simulator_parameters)
            Of these; only if one was given.

        Raises
        ------
        ValueError
            If the number of parameters is wrong.
        """
        rows = parameter_rows(parameters, self.parameter_names)
        mixing = _mixing(self._places(), float(at))
        values = rows @ mixing.T
        if covariance is None:
            return values
        return values, mixing @ np.asarray(covariance, dtype=float) @ mixing.T

    def _asked(self, parameters, nuisance=None, nuisance_ranges=None, names=()):
        """Return parameter sets, and what each simulator is to be asked."""
        rows = parameter_rows(parameters, self.parameter_names)
        if names and nuisance is None:
            known = dict(zip(self.nuisance_names, self.nuisance_reference, strict=True))
            nuisance = {name: known.get(name) for name in names}
        return rows, list(self._each(nuisance, nuisance_ranges))

    def _simulate(self, rows, each):
        return np.hstack(
            [
                simulator.simulate(rows @ mixing.T, **options)
                for simulator, mixing, options, _ in each
            ]
        )

    def _differentiate(self, names, rows, each):
        changes, spectra = [], []
        for simulator, mixing, options, owned in each:
            change, spectrum = simulator.jacobian(
                rows @ mixing.T, return_spectra=True, **options
            )
            n_base, n_own = mixing.shape
            columns = [names.index(label) for label in owned]
            of_all = np.zeros((*spectrum.shape, n_own + len(names)))
            of_all[..., :n_own] = change[..., :n_base] @ mixing
            of_all[..., n_own + np.array(columns, dtype=int)] = change[..., n_base:]
            of_all[np.isnan(spectrum)] = np.nan
            changes.append(of_all)
            spectra.append(spectrum)
        return np.concatenate(changes, axis=1), np.hstack(spectra)

    def _of(self, changed):
        """Return this simulator with others in the place of its own, where not None."""
        if all(simulator is None for simulator in changed):
            return None
        pairs = zip(self.simulators.items(), changed, strict=True)
        simulators = {name: old if new is None else new for (name, old), new in pairs}
        settings = self.get_params(deep=False) | {"simulators": simulators}
        return JointSimulator(**settings)

    def _checked(self):
        """Return the simulators, once the settings are known to fit together."""
        check_parameters(self)
        simulators = dict(self.simulators)
        if not simulators:
            raise ValueError("simulators must name at least one simulator, got none.")
        names = [list(each.parameter_names) for each in simulators.values()]
        for name, own in zip(simulators, names, strict=True):
            if own != names[0]:
                raise ValueError(
                    f"simulators must have the same parameters, {', '.join(names[0])}; "
                    f"{name!r} has {', '.join(own)}."
                )
        return simulators

    def _places(self):
        """Return where each parameter of the simulators has a value of its own."""
        names = list(next(iter(self._checked().values())).parameter_names)
        degree = self.degree
        if not isinstance(degree, Mapping):
            degree = dict.fromkeys(names, degree)
        at = self._at()
        highest = len(np.unique(at)) - 1
        places = {name: np.zeros(1) for name in names}
        for name, power in degree.items():
            if name not in places or not 0 <= power <= highest:
                raise ValueError(
                    f"degree must be 0 to {highest}, one less than there are different "
                    f"places in at, of parameters among {', '.join(names)}; got "
                    f"{power} of {name!r}."
                )
            if power:
                places[name] = np.linspace(at.min(), at.max(), power + 1)
        return places

    def _at(self):
        """Return the place of each measurement, all the same where none is given."""
        n = len(self.simulators)
        at = np.zeros(n) if self.at is None else np.asarray(self.at, dtype=float)
        if at.shape != (n,) or not np.isfinite(at).all():
            raise ValueError(
                f"at must be one finite number for each of the {n} simulators, got "
                f"{self.at!r}."
            )
        return at

    def _each(self, nuisance=None, ranges=None):
        """Yield each simulator, its mixing, options of its call and its nuisances.

        The mixing is the matrix from the parameters here to its own; the nuisances are
        those of `nuisance` that it owns, by their labels here.
        """
        places, nuisances = self._places(), self._nuisances()
        given = {"nuisance": nuisance or {}, "nuisance_ranges": ranges or {}}
        for labels in given.values():
            unknown = set(labels) - set(nuisances)
            if unknown:
                raise ValueError(
                    f"nuisance must name some of {', '.join(nuisances)}; got "
                    f"{', '.join(sorted(unknown))}."
                )
        for (name, simulator), at in zip(
            self._checked().items(), self._at(), strict=True
        ):
            own = {label: dict(owners).get(name) for label, owners in nuisances.items()}
            options = {
                option: {own[label]: labels[label] for label in labels if own[label]}
                for option, labels in given.items()
            }
            # those without nuisances know no such option
            options = {option: values for option, values in options.items() if values}
            owned = [label for label in given["nuisance"] if own[label]]
            yield simulator, _mixing(places, at), options, owned

    def _nuisances(self):
        """Return who owns each nuisance: pairs of a measurement and its own name."""
        owners: dict[str, list] = {name: [] for name in self.shared_nuisances}
        for measurement, simulator in self._checked().items():
            for name in getattr(simulator, "nuisance_names", ()):
                label = name if name in owners else f"{name} ({measurement})"
                owners.setdefault(label, []).append((measurement, name))
        orphans = [name for name, found in owners.items() if not found]
        if orphans:
            raise ValueError(
                "shared_nuisances must be nuisances of the simulators, got "
                f"{', '.join(orphans)}."
            )
        return owners


def _mixing(places, at):
    """Return the matrix from values at nodes to those at a place."""
    return block_diag(*(_lagrange(nodes, at) for nodes in places.values()))


def _lagrange(nodes, place):
    """Return the weight that the value at each node has at a place, as a row."""
    span = np.ptp(nodes) or 1.0
    x = (np.append(nodes, place) - nodes[0]) / span
    powers = np.vander(x, len(nodes))
    return np.linalg.solve(powers[:-1].T, powers[-1])[None]


def _n_pixels(simulator):
    grid = getattr(simulator, "grid", None)
    if grid is not None:
        return grid.n_pixels
    return np.shape(simulator.simulate(simulator.reference[None]))[1]
