"""Memory and threads of a call: those of the contexts of scikit-learn and joblib."""

from joblib import effective_n_jobs
from joblib.parallel import get_active_backend
from sklearn import get_config

__all__ = ["MOVED", "n_threads", "working_memory"]

# what to do instead of the parameters of 0.1
MOVED = {
    "memory": "call it within sklearn.config_context(working_memory=...), in MiB",
    "n_jobs": "call it within joblib.parallel_config(n_jobs=...)",
}


def working_memory() -> float:
    """Return bytes that a call may take beside its results."""
    return get_config()["working_memory"] * 2.0**20


def n_threads() -> int:
    """Return how many threads a call takes: one, within what is parallel already."""
    backend, _ = get_active_backend()
    return 1 if backend.nesting_level else effective_n_jobs(None)
