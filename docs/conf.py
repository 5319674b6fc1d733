"""Sphinx settings: `sphinx-build -W docs docs/_build/html`. Nothing is fetched from the network."""

import sys
from pathlib import Path

import matplotlib

import mixexp

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))
matplotlib.use("Agg")

project = "mixexp"
author = "The mixexp developers"
copyright = author  # Sphinx reads this name
version = release = mixexp.__version__
REPOSITORY = "https://github.com/mixexp/mixexp"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    # in _extensions/
    "linked_words",
    "mathml",
    "public_names",
]

root_doc = "index"
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
exclude_patterns = ["_build", "_templates", "_extensions", "auto_examples/*.ipynb"]
templates_path = ["_templates"]
default_role = "literal"  # single backticks of docstrings; public_names makes links of names
nitpicky = True
toc_object_entries_show_parents = "hide"  # names of methods are long enough without the class

# API pages: what users may call, written in mixexp, with docstrings as they are.
autodoc_typehints = "none"  # docstrings say types, in words
autodoc_member_order = "bysource"
autosummary_generate = True
numpydoc_show_class_members = False  # the template of classes lists methods
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "backreferences_dir": "api/backreferences",
    "doc_module": ("mixexp",),
    "reference_url": {"mixexp": None},
    "within_subsection_order": "gallery_order.ReadingOrder",
    "download_all_examples": False,
    "min_reported_time": 1,
    "show_memory": False,
    "show_signature": False,
    "plot_gallery": "True",
}

html_theme = "pydata_sphinx_theme"
html_title = f"mixexp {release}"
html_static_path = ["_static"]
html_css_files = ["mixexp.css"]
html_show_sourcelink = False
html_sidebars = {"index": [], "start": [], "glossary": [], "changelog": []}
html_theme_options = {
    "icon_links": [{"name": "GitHub", "url": REPOSITORY, "icon": "fa-brands fa-github"}],
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    # the last pattern that fits a page counts; wide tables take the room
    "secondary_sidebar_items": {"**": ["page-toc"], "index": [], "comparison": []},
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
