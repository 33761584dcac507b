"""Equations as MathML, which browsers draw without a script, by the converter that comes with docutils."""

import re

from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.errors import ExtensionError

__all__ = ["convert", "setup"]

FUNCTION = re.compile(r"(<mo>&ApplyFunction;</mo>)(?=\s*<m[^o])")
"""A named function before an argument without parentheses: TeX sets a thin space, which the converter leaves out."""


def setup(app) -> None:
    """Make MathML the way in which HTML shows equations.

    Args:
      app: Sphinx application.
    """
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.config.html_math_renderer = "mathml"


def convert(tex: str, as_block: bool, where: str) -> str:
    """Convert an equation.

    Args:
      tex: LaTeX without dollar signs.
      as_block: whether it stands on lines of its own.
      where: page, for the error.

    Returns:
      The MathML element.

    Raises:
      ExtensionError: the converter does not know a command of the equation.
    """
    try:
        return FUNCTION.sub(r'\1<mspace width="0.167em"/>', tex2mathml(tex, as_block=as_block))
    except MathError as error:
        raise ExtensionError(f"{where}: equation {tex!r}: {error}") from error


def _inline(self, node) -> None:
    from docutils import nodes

    self.body.append(convert(node.astext(), False, self.builder.current_docname))
    raise nodes.SkipNode


def _block(self, node) -> None:
    from docutils import nodes

    self.body.append(f'<div class="math">{convert(node.astext(), True, self.builder.current_docname)}</div>')
    raise nodes.SkipNode
