"""How Sphinx builds these pages: python -m sphinx -W docs build/docs (needs `pip install ".[docs]"`)."""

import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import docstrings
from docutils.nodes import SkipNode
from latex2mathml.converter import convert

import fastbp

project, copyright, release = "fastbp", "the authors of fastbp", fastbp.__version__
extensions = ["sphinx.ext.autodoc", "sphinx_gallery.gen_gallery"]
exclude_patterns = ["*.md", "tutorial"]  # of the tutorial the pages that the gallery makes
autodoc_member_order, autodoc_typehints = "bysource", "none"
suppress_warnings = ["config.cache"]

html_title, html_math_renderer = f"fastbp {release}", "mathml"
html_theme, html_static_path = "alabaster", ["static"]
html_theme_options = {
    "page_width": "1260px",  # space for 120 characters of code
    "body_max_width": "none",
    "font_family": "system-ui, sans-serif",
    "font_size": "16px",
    "code_font_size": "13px",
    "pre_bg": "#f6f6f6",
}

sphinx_gallery_conf = {
    "examples_dirs": "tutorial",
    "gallery_dirs": "pages",
    "filename_pattern": r"/\d",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "capture_repr": (),
    "min_reported_time": 60,
    "show_memory": False,
    "download_all_examples": False,
    "remove_config_comments": True,
}
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive", category=UserWarning)


def inline_math(translator, node):
    """A formula in a line, as MathML: browsers draw it themselves, and the pages load nothing from elsewhere."""
    translator.body.append(convert(node.astext()))
    raise SkipNode


def block_math(translator, node):
    """A formula of its own."""
    translator.body.append(convert(node.astext(), display="block"))
    raise SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("autodoc-process-docstring", docstrings.to_rst)
