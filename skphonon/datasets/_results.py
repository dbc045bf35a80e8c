"""Results of long computations, in memory and in files that name what they hold.

Plain JSON, not joblib.Memory: a cache of that holds pickles, which run what code they
like when a folder is passed on, recomputes what is damaged in silence, and forgets
everything when the source of a function changes.
"""

import json
import re
from hashlib import sha256
from pathlib import Path

import numpy as np

from skphonon._files import write_whole

__all__ = ["KeptResults"]


class KeptResults:
    """Arrays by label, which depend on nothing but that and an identity.

    Parameters
    ----------
    folder : path-like or None
        Folder of the files; None keeps arrays in memory alone.
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
            self.known[label] = self._from_file(label, compute)
        return self.known[label]

    def _from_file(self, label, compute):
        if self.folder is None:
            return compute().tolist()
        digest = sha256(json.dumps([label, self.identity]).encode()).hexdigest()[:16]
        name = re.sub(r"[^\w.+-]", "_", label)
        path = self.folder / f"{name}-{digest}.json"
        if path.exists():
            return self._read(path, label)
        result = compute().tolist()
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {"label": label, "of": self.identity, "is": result}
        write_whole(path, json.dumps(content, indent=1).encode())
        return result

    def _read(self, path, label):
        damaged = f"{path} must hold results of this run, but is damaged. Delete it."
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if [content["label"], content["of"]] == [label, self.identity]:
                return np.array(content["is"], dtype=float).tolist()
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(damaged) from error
        raise ValueError(damaged)
