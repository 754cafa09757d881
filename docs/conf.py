"""How Sphinx builds these pages: python -m sphinx -W docs build/docs (needs `pip install ".[docs]"`)."""

import warnings

import fastbp

project, copyright, release = "fastbp", "the authors of fastbp", fastbp.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx_gallery.gen_gallery"]
exclude_patterns = ["*.md", "tutorial"]  # of the tutorial the pages that the gallery makes
html_theme, html_title = "alabaster", f"fastbp {release}"
autodoc_member_order, autodoc_typehints = "bysource", "none"
suppress_warnings = ["config.cache"]

sphinx_gallery_conf = {
    "examples_dirs": "tutorial",
    "gallery_dirs": "pages",
    "filename_pattern": r"/\d",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "min_reported_time": 60,
    "show_memory": False,
    "download_all_examples": False,
    "remove_config_comments": True,
}
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive", category=UserWarning)


def literal(app, what, name, obj, options, lines):
    """Docstrings as they are written: they are plain text, with columns that line up."""
    if lines:
        lines[:] = ["::", "", *(f"    {line}" for line in lines), ""]


def setup(app):
    app.connect("autodoc-process-docstring", literal)
