"""Equations: MathJax, which the site brings along, draws them, and the build refuses what is no LaTeX.

MathJax draws every glyph itself, so that an equation looks the same in each browser and without a font for mathematics.
"""

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.errors import ExtensionError

__all__ = ["check", "setup"]


def setup(app) -> None:
    """Check the equations of each page.

    Args:
      app: Sphinx application.
    """
    app.connect("doctree-read", _check_page)


def check(tex: str, where: str) -> None:
    """Check an equation, which only a browser would draw otherwise.

    Args:
      tex: LaTeX without dollar signs.
      where: page, for the error.

    Raises:
      ExtensionError: the equation has an unknown command, or a brace too many.
    """
    try:
        tex2mathml(tex, as_block=True)
    except MathError as error:
        raise ExtensionError(f"{where}: equation {tex!r}: {error}") from error


def _check_page(app, doctree) -> None:
    for kind in (nodes.math, nodes.math_block):
        for node in doctree.findall(kind):
            check(node.astext(), app.env.docname)
