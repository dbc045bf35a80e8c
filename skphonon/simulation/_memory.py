"""Memory that a call may take beside its results: `working_memory` of scikit-learn."""

from sklearn import get_config

__all__ = ["MOVED", "working_memory"]

# what to do instead of the parameter of 0.1
MOVED = {
    "memory": (
        "set the memory of a call by sklearn.config_context(working_memory=...), in MiB"
    )
}


def working_memory() -> float:
    """Return bytes."""
    return get_config()["working_memory"] * 2.0**20
