"""All code of the guide runs as it stands on the pages, from top to bottom."""

import warnings

import pytest
from page_blocks import DOCS, PAGES, blocks_of, continued, run, text_of
from page_files import coarse, provide

import skphonon
from skphonon.inversion import Search
from skphonon.learning import Trainer

pytestmark = pytest.mark.pages

WITH_CODE = [page for page in PAGES if blocks_of(page)]
LESS = {  # what comments "in tests" may name
    "Search": Search,
    "FEW": Search(n_candidates=1, max_evaluations=4, tolerance=0.01),
    "Trainer": Trainer,
    "coarse": coarse,
}
NOT_RUN = {}  # page -> how many of its blocks

_names = {}  # of pages that others continue


def _run(page, folder, data_folder):
    """Return the names that a page leaves, running first what it continues."""
    earlier = continued(page)
    if earlier and earlier not in _names:
        _names[earlier] = _run(earlier, folder, data_folder)
    names = {**LESS, **(_names[earlier] if earlier else {}), "__name__": page}
    here = folder / page.replace("/", "-")
    here.mkdir()
    code = "".join(block.code for block in blocks_of(page))
    provide(here, code, data_folder)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.chdir(here)
        warnings.simplefilter("ignore")  # pages fit what a model does not describe
        run(page, names)
    return names


@pytest.mark.parametrize("page", WITH_CODE)
def test_code_runs(page, data_folder, tmp_path):
    import matplotlib.pyplot as plt

    if page in _names:  # ran as what another continues
        return
    try:
        _names[page] = _run(page, tmp_path, data_folder)
    finally:
        plt.close("all")


def test_blocks_that_do_not_run_are_known():
    found = {
        page: sum(
            bool(block.not_run) for block in blocks_of(page) if block.kind != "plot"
        )
        for page in WITH_CODE
    }
    assert {page: number for page, number in found.items() if number} == NOT_RUN


def test_every_kind_of_file_has_a_page():
    """What `skphonon.io` can read stands on the page that asks what you have."""
    text = "".join(text_of(page) for page in PAGES if page.startswith("your_data/"))
    readers = [
        name for name in skphonon.io.__all__ if name.startswith(("read_", "from_"))
    ]
    assert len(readers) >= 10
    for name in readers:
        assert f"skphonon.io.{name}`" in text, name


def test_blocks_are_found():
    assert len(WITH_CODE) > 25
    assert sum(len(blocks_of(page)) for page in WITH_CODE) > 120


def test_every_picture_is_on_a_page():
    text = "".join(text_of(page) for page in PAGES)
    scripts = {path.stem for path in (DOCS / "pictures").glob("*.py")} - {"synthetic"}
    assert len(scripts) > 30
    assert {
        name for name in scripts if f"plot:: pictures/{name}.py" not in text
    } == set()
