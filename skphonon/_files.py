"""Files that are complete or, should anything stop their writing, not there at all."""

import os
from uuid import uuid4

__all__ = ["UNFINISHED", "write_whole"]

UNFINISHED = ".part"  # ending of a file that is being written


def write_whole(path, content):
    """Write bytes to a file, which gets its name once it is on disk."""
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}{UNFINISHED}")
    try:
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # before it gets its name, also if power fails
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
