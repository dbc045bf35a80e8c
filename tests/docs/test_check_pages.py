"""The check at the end of a build finds what it is for."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "docs" / "check_pages.py"


@pytest.fixture(scope="module")
def check_pages():
    spec = importlib.util.spec_from_file_location("check_pages", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "html",
    [
        '<script defer src="https://cdn.example.org/mathjax.js"></script>',
        '<link rel="stylesheet" href="//example.org/a.css">',
        '<img src="http://example.org/a.png" alt="a">',
        '<img src="a.png" srcset="a.png, https://example.org/b.png 2x">',
        '<p style="background: url(https://example.org/a.png)">a</p>',
    ],
)
def test_a_request_elsewhere_is_found(check_pages, html):
    assert len(check_pages.requests_elsewhere(html)) == 1


def test_links_and_own_files_are_no_requests(check_pages):
    html = (
        '<a href="https://example.org">a</a><img src="_images/a.png" alt="a">'
        '<script src="_static/mathjax/tex-chtml.js?v=1"></script>'
        '<link rel="next" href="https://example.org/next.html">'
    )
    assert check_pages.requests_elsewhere(html) == []


def test_style_sheets_are_read_too(check_pages):
    css = "@import 'https://a.org/a.css'; p {src: url(//b.org/b.woff2), url(c.woff)}"
    found = check_pages.style_requests(css)
    assert found == ["https://a.org/a.css", "//b.org/b.woff2"]


def test_representations_of_objects_are_leaks(check_pages):
    shown = (
        "<pre>&lt;skphonon.Fit object at 0x7f&gt;\n[&lt;matplotlib.lines.Line2D</pre>"
    )
    assert len(check_pages.leaks(shown)) == 2
    assert check_pages.leaks("<pre>Al object at 50 K</pre>") == []
