"""Sphinx settings of the documentation site: `python -m sphinx -W docs site` writes it into `site/`, offline."""

import os
import sys
from importlib.resources import files
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
"""The code of a chapter runs for less time than its compilation takes."""

from dlcore import __version__  # noqa: E402

project = "dlcore"
author = "The dlcore authors"
copyright = "The dlcore authors"
version = release = __version__

extensions = ["myst_nb", "sphinx_design", "sphinx_copybutton", "site_extension"]
exclude_patterns = ["_build", "site_extension", "techniques/*/**"]
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
nb_execution_mode = "off"
suppress_warnings = ["ref.python", "myst.header"]
"""Types in signatures may be the name of several classes; sections of generated pages may begin at any level."""

html_theme = "sphinx_book_theme"
html_title = "dlcore"
html_static_path = ["static", str(files("mathjax") / "static" / "mathjax" / "es5" / "tex-svg-full.js")]
mathjax_path = "tex-svg-full.js"
mathjax_config_path = "static/mathjax.js"
"""One file with all commands and glyphs, and its settings."""
html_css_files = ["site.css"]
html_search_scorer = str(Path(__file__).resolve().parent / "static" / "scorer.js")
html_favicon = "static/icon.svg"
html_context = {"default_mode": "auto"}
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {
    "collapse_navigation": True,
    "home_page_in_toc": False,
    "navigation_with_keys": True,
    "pygments_light_style": "friendly",
    "pygments_dark_style": "github-dark",
    "search_bar_text": "Search techniques, flags and functions",
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
}
copybutton_prompt_text = r">>> |\$ "
copybutton_prompt_is_regexp = True
pygments_style = "friendly"
