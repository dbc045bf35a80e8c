"""Files of every version so far: they load, and answer as they did."""

import warnings

import numpy as np
import pytest
from make_kept import KEPT, MODELS, VERSION, answer, made
from make_kept import main as make_kept
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning

from skphonon._settings import describe as settings
from skphonon.persistence import (
    TRUSTED_TYPES,
    VersionMismatchWarning,
    describe,
    load_model,
    save_model,
)

FILES = sorted(KEPT.glob("*/*.skops"))
MODELS_OF_OURS = {
    name.rpartition(".")[2]
    for name in TRUSTED_TYPES
    if name.startswith("skphonon.") and "._" not in name
}


@pytest.mark.parametrize(
    "path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_kept_models_answer_as_they_did(path):
    kept = np.load(path.with_suffix(".npz"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VersionMismatchWarning)
        warnings.simplefilter("ignore", InconsistentVersionWarning)
        model = load_model(path)
    found = answer(model, kept["X"] if "X" in kept else None)
    size = np.abs(kept["found"]).max(initial=0)
    assert_allclose(found, kept["found"], rtol=1e-6, atol=1e-6 * size)
    assert type(model).__name__ in describe(path)


def test_every_class_of_ours_is_kept():
    assert set(MODELS) == MODELS_OF_OURS
    assert {path.stem for path in FILES if path.parent.name == VERSION} == set(MODELS)


def test_kept_files_are_small():
    for folder in KEPT.iterdir():
        assert sum(path.stat().st_size for path in folder.iterdir()) < 300_000


def test_kept_files_are_not_replaced_unasked():
    with pytest.raises(SystemExit, match="is there already"):
        make_kept([])


@pytest.mark.parametrize("name", MODELS)
def test_every_model_comes_back_to_the_last_bit(name, tmp_path):
    model, X = made(name)
    path = tmp_path / "model.skops"
    before = answer(model, X)
    save_model(model, path)
    loaded = load_model(path)
    assert_array_equal(answer(loaded, X), before, strict=True)
    assert settings(loaded, name) == settings(model, name)
    if isinstance(model, BaseEstimator):
        assert describe(loaded) == describe(model)
    assert getattr(loaded, "model_card_", None) == getattr(model, "model_card_", None)
