"""Least squares that are not linear: functions of residuals and their derivatives.

Nothing here knows of neutrons. `descend` searches, with steps and damping of their own;
`Projection` eliminates what enters linearly.
"""

from skphonon.fitting.covariance import inverse_information, one_sided, sandwich
from skphonon.fitting.damping import Damping
from skphonon.fitting.descent import Descent, descend
from skphonon.fitting.expansion import Expansion, of_residuals, with_prior
from skphonon.fitting.knowledge import Knowledge, normal_rows
from skphonon.fitting.multistart import distinct, judged, most_promising
from skphonon.fitting.projection import (
    Projection,
    eliminate,
    nonnegative,
    nonnegative_counts,
)
from skphonon.fitting.robust import LOSSES, normal_size

__all__ = [
    "LOSSES",
    "Damping",
    "Descent",
    "Expansion",
    "Knowledge",
    "Projection",
    "descend",
    "distinct",
    "eliminate",
    "inverse_information",
    "judged",
    "most_promising",
    "nonnegative",
    "nonnegative_counts",
    "normal_rows",
    "normal_size",
    "of_residuals",
    "one_sided",
    "sandwich",
    "with_prior",
]
