"""Results that took long, in memory and in files that name what they hold."""

import json
import re
from hashlib import sha256
from pathlib import Path

import numpy as np

from skphonon._files import write_whole

__all__ = ["KeptResults"]


class KeptResults:
    """Arrays by label, which depend on nothing but that and on what is identical.

    Parameters
    ----------
    folder : path-like or None
        Where files are; None keeps arrays in memory alone.
    identity : dict
        All else that the arrays depend on, as JSON has it.
    """

    def __init__(self, folder, identity):
        self.folder = None if folder is None else Path(folder)
        self.identity = identity
        self.known = {}

    def recall(self, label, compute):
        """Return what has this label, computed if it is nowhere."""
        if label not in self.known:
            path = self._path(label)
            if path is not None and path.exists():
                self.known[label] = self._read(path, label)
            else:
                self.known[label] = compute().tolist()
                self._write(path, label)
        return self.known[label]

    def _path(self, label):
        if self.folder is None:
            return None
        digest = sha256(json.dumps([label, self.identity]).encode()).hexdigest()[:16]
        name = re.sub(r"[^\w.+-]", "_", label)
        return self.folder / f"{name}-{digest}.json"

    def _write(self, path, label):
        if path is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            content = {"label": label, "of": self.identity, "is": self.known[label]}
            write_whole(path, json.dumps(content, indent=1).encode())

    def _read(self, path, label):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if [content["label"], content["of"]] == [label, self.identity]:
                return np.array(content["is"], dtype=float).tolist()
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(_damaged(path)) from error
        raise ValueError(_damaged(path))


def _damaged(path):
    return f"{path} must hold results of this run, but is damaged. Delete it."
