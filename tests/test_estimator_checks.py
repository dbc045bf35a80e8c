"""Every public estimator keeps scikit-learn's contract, with no expected failure."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from skphonon.inversion import NelderMeadInverter
from skphonon.preprocessing import MaskedSpectrumPreprocessor

ESTIMATORS = [
    MaskedSpectrumPreprocessor(),
    NelderMeadInverter(tolerance=0.05),  # coarse: the checks run many searches
]


@parametrize_with_checks(ESTIMATORS)
def test_estimator_follows_the_contract(estimator, check):
    check(estimator)
