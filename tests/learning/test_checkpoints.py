"""Trainings that are killed go on from their files."""

import contextlib
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

from skphonon.learning import (
    Dense,
    ForceConstantRegressor,
    ResumableCheckpoint,
    Trainer,
    VAEFeatureExtractor,
)

SETTINGS = {"max_epochs": 8, "lr": 0.01, "patience": 20}

KILLED = """
import os, signal, sys
import numpy as np
from skorch.callbacks import Callback
from skphonon.learning import Dense, ResumableCheckpoint, Trainer, VAEFeatureExtractor

class Killing(Callback):
    def on_batch_end(self, net, **options):
        if net.history[-1]["epoch"] == 6:
            os.kill(os.getpid(), signal.SIGKILL)

saving = ResumableCheckpoint(sys.argv[1], every=2)
trainer = Trainer(max_epochs=8, lr=0.01, patience=20, callbacks=[saving, Killing()])
model = VAEFeatureExtractor(2, network=Dense(5), trainer=trainer, random_state=0)
model.fit(np.load(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def X():
    y = np.random.default_rng(0).uniform(-1, 1, size=(80, 1))
    return np.exp(-4 * (np.linspace(-2, 2, 20) - y) ** 2)


def small(*callbacks, **changed):
    trainer = Trainer(**{**SETTINGS, **changed}, callbacks=list(callbacks))
    return VAEFeatureExtractor(2, network=Dense(5), trainer=trainer, random_state=0)


def test_a_training_that_was_killed_ends_as_if_it_had_not(X, tmp_path):
    path = tmp_path / "vae.pt"
    np.save(tmp_path / "X.npy", X)
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, path, tmp_path / "X.npy"],
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == -signal.SIGKILL
    assert path.exists()
    model = small(ResumableCheckpoint(path, every=2)).fit(X)
    whole = small().fit(X)
    assert_array_equal(model.transform(X), whole.transform(X))
    assert model.history_.equals(whole.history_)
    # further training goes on alike, too
    assert_array_equal(
        model.partial_fit(X).transform(X), whole.partial_fit(X).transform(X)
    )


def test_it_resumes_where_it_was(X, tmp_path):
    """And a training that is done begins no epoch."""
    saving = ResumableCheckpoint(tmp_path / "deep" / "vae.pt", every=3)

    class Stop(ResumableCheckpoint):
        def on_batch_end(self, net, **options):
            if net.history[-1]["epoch"] == 8:
                raise RuntimeError("power failure")

    class Count(ResumableCheckpoint):
        epochs = 0

        def on_epoch_begin(self, net, **options):
            Count.epochs += 1

    with pytest.raises(RuntimeError, match="power failure"):
        small(saving, Stop(None)).fit(X)
    model = small(saving, Count(None)).fit(X)
    assert Count.epochs == 2  # of eight, six are saved
    assert_array_equal(model.transform(X), small().fit(X).transform(X))
    every = ResumableCheckpoint(tmp_path / "all.pt")
    small(every).fit(X)
    Count.epochs = 0
    again = small(every, Count(None)).fit(X)
    assert Count.epochs == 0
    assert_array_equal(again.transform(X), model.transform(X))


@pytest.mark.parametrize(
    "changed", ["data", "lr", "max_epochs", "seed", "loss", "noise", "kind"]
)
def test_another_training_does_not_take_its_file(X, tmp_path, changed):
    saving = ResumableCheckpoint(tmp_path / "vae.pt")
    small(saving).fit(X)
    content = (tmp_path / "vae.pt").read_bytes()
    other = small(saving)
    if changed == "data":
        X = X + 1e-3 * np.arange(len(X))[:, None]
    elif changed in SETTINGS:
        other.set_params(**{f"trainer__{changed}": 5})
    elif changed == "seed":
        other.set_params(random_state=1)
    elif changed == "loss":
        other.set_params(kl_weight=0.5)
    elif changed == "noise":
        other.set_params(noise=0.1)
    else:
        other = ForceConstantRegressor(trainer=other.trainer, random_state=0)
    with pytest.raises(ValueError, match=r"vae\.pt'.*another training.*Remove it"):
        other.fit(X, X[:, 0])
    assert (tmp_path / "vae.pt").read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x04.", bytes(4000), b"text"])
def test_a_file_of_another_kind_is_refused(X, tmp_path, content):
    path = tmp_path / "vae.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="none of a training"):
        small(ResumableCheckpoint(path)).fit(X)
    assert path.read_bytes() == content


def test_damage_is_seen(X, tmp_path):
    path = tmp_path / "vae.pt"
    small(ResumableCheckpoint(path)).fit(X)
    content = bytearray(path.read_bytes())
    for place in range(200, len(content), len(content) // 12):
        content[place] ^= 16
        path.write_bytes(content)
        with contextlib.suppress(ValueError):  # which is as it should be
            again = small(ResumableCheckpoint(path)).fit(X)
            assert_array_equal(again.transform(X), small().fit(X).transform(X))
        content[place] ^= 16


@pytest.mark.parametrize("every", [0, -1, 1.5, None, "x"])
def test_it_is_saved_after_a_number_of_epochs(X, tmp_path, every):
    with pytest.raises(ValueError, match="every of ResumableCheckpoint must be a num"):
        small(ResumableCheckpoint(tmp_path / "vae.pt", every)).fit(X)


def test_a_path_is_tried_before_the_work(X, tmp_path):
    (tmp_path / "file").touch()
    saving = ResumableCheckpoint(tmp_path / "file" / "vae.pt", every=100)
    with pytest.raises(OSError, match="file"):
        small(saving).fit(X)
    with pytest.raises(TypeError, match="must be a path, got None"):
        small(ResumableCheckpoint(None)).fit(X)


def test_what_cannot_resume_is_told_at_once(X, tmp_path):
    model = small(ResumableCheckpoint(tmp_path / "vae.pt"))
    with pytest.warns(UserWarning, match="random_state=None cannot be resumed"):
        model.set_params(random_state=None).fit(X)


def test_clones_have_the_same_file(X, tmp_path):
    model = small(ResumableCheckpoint(tmp_path / "vae.pt"))
    assert_array_equal(
        clone(model).fit(X).transform(X), clone(model).fit(X).transform(X)
    )
