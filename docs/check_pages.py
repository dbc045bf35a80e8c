"""What the built pages must keep: no request to elsewhere, pictures, no leaks.

Connected in conf.py to the end of the build, where a fault is a warning, and warnings
are errors.
"""

import re
from html.parser import HTMLParser
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.util import logging

PARTS = ("learn", "how_to", "understand", "read_your_data")
LOADS = {  # attributes by which a page has the browser fetch something
    "script": ("src",),
    "link": ("href",),
    "img": ("src", "srcset"),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "embed": ("src",),
    "object": ("data",),
}
NOT_LOADED = {"canonical", "next", "prev", "index", "search", "license", "author"}
LEAKS = re.compile(r"<[\w.]+ object at 0x|\[?<matplotlib\.")


class _Page(HTMLParser):
    """What a page requests from other hosts, and the text that it shows."""

    def __init__(self):
        super().__init__()
        self.requests, self.text = [], []

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        if tag == "link" and NOT_LOADED & set((named.get("rel") or "").split()):
            return
        found = [named.get(name) or "" for name in LOADS.get(tag, ())]
        found += re.findall(r"url\(([^)]*)\)", named.get("style") or "")
        self.requests += [each for each in found if _elsewhere(each)]

    def handle_data(self, data):
        self.text.append(data)


def requests_elsewhere(html):
    """Return what the browser fetches from other hosts to show the page."""
    return _parsed(html).requests


def leaks(html):
    """Return representations of objects that stand in the text of the page."""
    return LEAKS.findall("".join(_parsed(html).text))


def style_requests(css):
    """Return what a style sheet fetches from other hosts."""
    found = re.findall(r"url\(\s*['\"]?([^)'\"]+)|@import\s+['\"]([^'\"]+)", css)
    return [each for pair in found for each in pair if _elsewhere(each)]


def guide_pages(environment):
    """Return names of the pages that the parts of the guide list."""
    listed = {
        name
        for part in PARTS
        for tree in environment.get_doctree(part).findall(addnodes.toctree)
        for _, name in tree["entries"]
    }
    return {each for each in listed if not each.startswith("auto_examples/")}


def has_picture_of_this_build(doctree):
    """Tell whether a page shows a picture that code on or behind it drew."""
    return any("plot_directive" in each["uri"] for each in doctree.findall(nodes.image))


def check(app, exception):
    """Warn of each page that breaks a rule."""
    if exception is not None or app.builder.name != "html":
        return
    warn = logging.getLogger(__name__).warning
    for name in sorted(guide_pages(app.env)):
        if name in app.config.pages_without_picture:
            continue
        if not has_picture_of_this_build(app.env.get_doctree(name)):
            warn("no picture that the build draws", location=name)
    for path in sorted(Path(app.outdir).rglob("*.html")):
        html = path.read_text(encoding="utf-8")
        for each in requests_elsewhere(html):
            warn("%s requests %s", path.name, each)
        for each in leaks(html):
            warn("%s shows %s", path.name, each)
    for path in sorted(Path(app.outdir).rglob("*.css")):
        for each in style_requests(path.read_text(encoding="utf-8")):
            warn("%s requests %s", path.name, each)


def _parsed(html):
    page = _Page()
    page.feed(html)
    return page


def _elsewhere(address):
    places = [each.split()[0] for each in address.split(",") if each.split()]
    starts = ("http:", "https:", "//")
    return any(each.strip("'\"").startswith(starts) for each in places)


def setup(app):
    """Connect the check; Sphinx calls this."""
    app.add_config_value("pages_without_picture", set(), "env", {set})
    app.connect("build-finished", check, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
