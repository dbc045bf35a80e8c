"""A crystal with constants of shells, and models of it with others."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import KW_ONLY
from functools import cached_property
from numbers import Integral
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon._caching import content_of
from skphonon._validation import check_columns, is_number, parameter_rows, reference_row
from skphonon._versioned import immutable, read_only
from skphonon.physics._crystal import Crystal, build_crystal, element_names
from skphonon.physics._crystal_html import html_of_crystal
from skphonon.physics._harmonic_crystal import HarmonicCrystal
from skphonon.physics.reduction import (
    Reduction,
    reduce_crystal,
    reduced_by,
    reduction_of,
)

__all__ = ["ShellCrystal"]

Array = NDArray[np.float64]


@immutable
class ShellCrystal(HarmonicCrystal):
    """Constants of shells as parameters, more shells, or fewer parameters."""

    _: KW_ONLY
    n_shells: int | None = 2
    reduction: Reduction | None = None

    def _settle(self) -> None:
        super()._settle()
        if self.n_shells is None and self.supercell is None:
            raise ValueError(
                "n_shells=None takes the shells that fit into a supercell, got none. "
                "Give supercell or n_shells."
            )
        if self.n_shells is not None and self.n_shells < 1:
            raise ValueError(f"n_shells must be at least 1, got {self.n_shells}.")
        if self.reference is not None:
            if not callable(getattr(self.reference, "index", len)):  # names of pandas
                check_columns(self.reference, self.parameter_names)
            self._keep(reference=read_only(self.reference))

    @cached_property
    def full_model(self) -> Self:
        """The model without its reduction, itself where it has none."""
        if self.reduction is None:
            return self
        reference = self.reference
        if reference is not None:
            reference = self.expand(reference_row(self))
        return self.replace(reduction=None, reference=reference)

    @property
    def farthest_shell(self) -> int:
        """Number of the farthest shell of neighbours, counted from 1.

        That is `n_shells`, and where this is None the farthest that the supercell
        has.
        """
        return self._crystal.shells[-1].number

    def extended(self, n_shells: int) -> Self:
        """Return a model of this crystal with more shells.

        Constants that this model has keep their names and values; in `reference` those
        of the new shells are zero, so that phonon energies there stay the same. Where
        the acoustic sum rule made elements of the farthest shells follow from others
        (crystals of low symmetry), they may become parameters, with the values that
        they had.

        A supercell is kept, and with it the polar term of Born charges: constants on a
        supercell hold part of that term, and new shells add to them what is missing.
        If new shells of a polar crystal reach beyond the supercell,
        :meth:`to_phonopy` cannot store their constants there.

        The lattice stays too. That of a calculation is often 0.5 to 1 % off the
        measured one, and :math:`|Q|` of all lines with it: take
        ``model.replace(lattice=...)`` where it is known.

        Parameters
        ----------
        n_shells : int
            Number of shells, those of this model included.

        Returns
        -------
        ForceConstantModel
            Without `reference` if this one has none.

        Raises
        ------
        ValueError
            If this model has shells beyond `n_shells`, or is reduced, or `n_shells` is
            no whole number.

        See Also
        --------
        skphonon.physics.ShellPrior : Widths of the new constants, from their distance.

        Examples
        --------
        >>> from skphonon import load_aluminium_model
        >>> model = load_aluminium_model().extended(3)
        >>> model.parameter_names[5:]
        ['3XX', '3YY', '3XY', '3YZ']
        >>> model.reference[5:]
        array([0., 0., 0., 0.])
        """
        if self.reduction is not None:
            raise ValueError(
                "A model must have the constants of its shells as parameters to be "
                "extended, but this one is reduced. Extend its full_model, and reduce "
                "it again."
            )
        if not is_number(n_shells, Integral):
            raise ValueError(
                "n_shells must be a whole number, the shells of the new model, got "
                f"{n_shells!r}."
            )
        if n_shells < self.farthest_shell:
            raise ValueError(
                f"n_shells must be at least {self.farthest_shell}, the shells that the "
                f"model has; got {n_shells}. Take model.replace(n_shells=..., "
                "reference=...) for fewer."
            )
        made = self.replace(n_shells=n_shells, reference=None)
        if self.reference is None:
            return made
        values = self._crystal.rule @ reference_row(self)
        known = dict(zip(element_names(self._crystal), values, strict=True))
        # by name of the element: outer shells may give up others to the sum rule
        reference = [known.get(name, 0.0) for name in made.parameter_names]
        return made.replace(reference=reference)

    def reduced(
        self,
        by: str | Mapping | None = None,
        *,
        n_shells: int | None = None,
        others: str = "free",
        covariance: ArrayLike | None = None,
        samples: ArrayLike | None = None,
        n_components: float | None = None,
        map: ArrayLike | None = None,
        names: Sequence[str] | None = None,
        origin: ArrayLike | None = None,
    ) -> Self:
        r"""Return a model of this crystal with fewer parameters.

        A spectrum does not determine hundreds of constants k. A reduced model has
        parameters r, named and linear, :math:`k = M r`, and is a model like any other:
        simulators and inverters take it, and :meth:`tensor`, :meth:`to_phonopy` and
        :meth:`expand` lead back to all constants. It can be reduced again, but not by
        springs. One of these ways must be given:

        - ``by="springs"``: a longitudinal and a transverse spring for each shell,
          ``1L`` and ``1T``. With the bond along :math:`\hat b`,
          :math:`K = k_L\,\hat b \hat b^T + k_T\,(1 - \hat b \hat b^T)`: forces
          that pairs exert along their bond have this form, bent bonds do not.
        - ``by={"stretch": ["1XX", "1XY"], "far": [3, 4]}``: constants, or shells by
          number, that scale together. The parameter of a group is the factor of their
          reference values; its own reference is 1.
        - `covariance` or `samples` of the constants: a common factor of them all,
          ``origin``, and the principal directions of what is left, ``PC1``, ``PC2`` and
          so on, in units of their standard deviations.
        - `map` with `names`: any linear map.

        No constant is held at its reference, since dynamical matrices are linear in the
        parameters: what shall not vary by itself scales together, by the last or first
        parameter (``rest``, ``origin``). Give it a narrow prior or bounds to hold it
        at 1.

        Parameters
        ----------
        by : "springs" or dict, default=None
            Springs, or names of groups to their members: a list of names of parameters
            and numbers of shells, each in one group only.
        n_shells : int, default=None
            Shells that get springs. Constants of those beyond keep the proportions of
            the reference and scale together, as ``rest``. None is all shells.
        others : {"free", "rest"}, default="free"
            Constants in no group: each stays a parameter under its name, or they scale
            together, as ``rest``.
        covariance : array-like of shape (n_parameters, n_parameters), default=None
            What is known of the parameters of this model, such as `covariance_` of a
            :class:`~skphonon.physics.ForceConstantPrior`.
        samples : array-like of shape (n_samples, n_parameters), default=None
            Sets of constants that tell it: rows of several calculations, or those that
            a :class:`~skphonon.physics.ForceConstantPrior` draws.
        n_components : int or float, default=None
            Number of principal directions, or the least share of the variance, between
            0 and 1, that they and the common factor stand for. None is all.
        map : array-like of shape (n_parameters, n_names), default=None
            Change of the parameters of this model with those of the reduced one.
            Constants that no column reaches vanish.
        names : sequence of str, default=None
            Names of the columns of `map`.
        origin : array-like of shape (n_parameters,), default=None
            Constants that one more parameter, ``origin``, multiplies; it is the first.
            None is the reference of the model with `covariance`, the mean with
            `samples`, and no such parameter with `map`.

        Returns
        -------
        ForceConstantModel
            Its `reference` is what comes closest to that of this model, least squares
            over the force constants of all bonds. Of principal directions its
            `reduction` tells the `explained_variance_ratio` and the `covariance` of the
            parameters.

        Raises
        ------
        ValueError
            If not one way is given, or an option of another way; a name or shell is
            unknown; two parameters have one name; the map is singular; a covariance is
            none; or there is no reference where constants scale together.

        Warns
        -----
        UserWarning
            If the reduced model does not reproduce the reference.

        Examples
        --------
        >>> from skphonon import load_aluminium_model
        >>> model = load_aluminium_model()
        >>> model.reduced({"first": [1], "second": [2]}).parameter_names
        ['first', 'second']
        >>> soft = model.reduced({"bend": ["1ZZ", "2YY"]})
        >>> soft.parameter_names
        ['bend', '1XX', '1XY', '2XX']
        >>> soft.expand([0.5, 0.7, 0.6, 0.1]).round(4)
        array([ 0.7   , -0.1253,  0.6   ,  0.1   ,  0.0037])
        """
        reduction = reduction_of(
            self,
            by,
            n_shells,
            others,
            covariance,
            samples,
            n_components,
            map,
            names,
            origin,
        )
        return reduced_by(self, reduction)

    def expand(self, parameters: ArrayLike) -> Array:
        """Return the constants of the crystal that parameters stand for.

        Parameters
        ----------
        parameters : array-like of shape (n_samples, n_parameters) or (n_parameters,)
            Parameter sets of this model.

        Returns
        -------
        ndarray of shape (n_samples, n_constants) or (n_constants,)
            In eV/Angstrom^2, parameters of `full_model`: those given where the model is
            not reduced.
        """
        rows = parameter_rows(parameters, self.parameter_names)
        if self.reduction is not None:
            rows = rows @ self.reduction.matrix.T
        return rows[0] if np.ndim(parameters) == 1 else rows

    def _repr_html_(self) -> str:
        return html_of_crystal(self)

    @cached_property
    def _crystal(self) -> Crystal:
        """Shells, and the elements that the parameters give them."""
        full, reduction = self._full_crystal, self.reduction
        if reduction is None:
            return full
        key = *self._crystal_key, reduction.content_key
        return self.cached(key, lambda: reduce_crystal(full, reduction))

    @cached_property
    def _full_crystal(self) -> Crystal:
        """What follows from the structure and the number of shells."""
        return self.cached(
            self._crystal_key,
            lambda: build_crystal(self._structure, self.n_shells, self.supercell),
        )

    @property
    def _crystal_key(self) -> tuple[Hashable, ...]:
        within = self.supercell if self.n_shells is None else None
        return "crystal", self.n_shells, content_of(within)
