"""The blocks of the README run as they stand; tests/docs runs those of the guide."""

import re
import warnings
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_blocks_run(number, data_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a fit that a user would look at
        exec(compile(BLOCKS[number], "README", "exec"), {})
    assert (tmp_path / "aluminium.html").stat().st_size > 1e5


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    own = [link for link in links if not link.startswith("https://")]
    assert len(own) > 10
    for link in own:
        assert (README.parent / link).exists(), link


def test_it_is_short():
    assert len(TEXT.split()) <= 610  # half of what it was
