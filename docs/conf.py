"""Sphinx configuration: numpydoc, the example gallery, no network."""

import re
import sys
import tempfile
from pathlib import Path

import skphonon

sys.path.insert(0, str(Path(__file__).parent))

import draw_rooms

project = "skphonon"
author = "skphonon developers"
project_copyright = f"2026, {author}"
version = release = skphonon.__version__

extensions = [
    "sphinx.ext.doctest",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "matplotlib.sphinxext.plot_directive",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "check_pages",
]
exclude_patterns = [
    "_build",
    "auto_examples/*.ipynb",
    "**sg_execution_times.rst",  # its table is laid out by scripts of other hosts
]
templates_path = ["_templates"]
default_role = "literal"
extlinks = {
    "arxiv": ("https://arxiv.org/abs/%s", "arXiv:%s"),
    "doi": ("https://doi.org/%s", "doi:%s"),
}

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections give types, shapes and units
numpydoc_show_class_members = False  # the class template lists them

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "remove_config_comments": True,
    "backreferences_dir": "api/generated/backreferences",
    "doc_module": ("skphonon",),
}

# Pictures of the guide: drawn by docs/pictures/*.py, or by code that the page shows.
plot_formats = [("png", 130)]
plot_html_show_formats = False
plot_html_show_source_link = False
plot_working_directory = tempfile.mkdtemp(prefix="skphonon-docs-")
plot_rcparams = {
    "figure.figsize": (7.0, 3.4),
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "savefig.bbox": "tight",
}
plot_apply_rcparams = True

html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_theme = "pydata_sphinx_theme"
html_title = f"skphonon {version}"
html_theme_options = {"show_prev_next": False}


def skip_what_others_wrote(app, what, name, obj, skip, options):
    """Leave out what classes inherit from scikit-learn or from Python itself."""
    home = getattr(getattr(obj, "fget", obj), "__module__", None) or ""
    generated = re.fullmatch(r"set_\w+_request", name)
    return True if generated or not home.startswith("skphonon") else None


def draw_the_rooms(app):
    """Draw the picture of the contributing page from the imports as they are."""
    draw_rooms.main(Path(app.srcdir) / "images" / "rooms.svg")


def setup(app):
    """Connect the handlers above."""
    app.connect("builder-inited", draw_the_rooms)
    app.connect("autodoc-skip-member", skip_what_others_wrote)
