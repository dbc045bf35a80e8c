"""What is in a file."""

from pathlib import Path
from typing import Any

__all__ = ["look_at"]


def look_at(path: Path, picture: Path | None) -> str:
    """Return what a file holds as a text, and draw it if asked."""
    from skphonon.io import read

    if picture is not None and picture.exists():
        raise ValueError(f"{picture} is there already. Give another name.")
    found = read(path)
    several = found if isinstance(found, list) else [found]
    texts = [_text(each) for each in several]
    if picture is not None:
        import matplotlib

        matplotlib.use("Agg")
        elastic = hasattr(several[0], "polar")  # its line is far above all else
        several[0].plot(log=elastic).figure_.savefig(picture, dpi=150)
        texts.append(f"Picture: {picture}")
    return "\n\n".join(texts)


def _text(measurement: Any) -> str:
    facts = measurement.describe()
    width = max(map(len, facts.index))
    lines = [f"{name.ljust(width)}  {value}" for name, value in facts.items()]
    return "\n".join([facts.name, *lines])
