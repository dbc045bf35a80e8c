"""The blocks of the README and of the first page of the guide run as they stand."""

import re
import textwrap
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


def test_getting_started_runs_from_top_to_bottom(data_folder, tmp_path, monkeypatch):
    import matplotlib.pyplot as plt

    page = (README.parent / "docs" / "getting_started.rst").read_text(encoding="utf-8")
    blocks = re.findall(r"code-block:: python\n\n((?:   .*\n|\n)+)", page)
    assert len(blocks) == 5
    monkeypatch.chdir(tmp_path)
    names = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a fit that the page talks of
        for block in blocks:
            exec(compile(textwrap.dedent(block), "getting_started", "exec"), names)
    plt.close("all")
    said = [finding.about for finding in names["inverter"].fits_[0].verdict_]
    assert said == ["misfit", "lattice", "bound"]
    assert (tmp_path / "aluminium.html").exists()
