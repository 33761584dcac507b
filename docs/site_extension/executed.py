"""Code of a chapter that runs while the site is built: `{run-python}` shows a block, and what it printed or drew.

The blocks of a page share their variables and run in the order of the page. A block that fails, fails the build. A last
line that is an expression is shown, as a notebook does; where it is a figure of matplotlib, the block needs a caption.
"""

import ast
import contextlib
import io

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from sphinx.errors import ExtensionError

from site_extension.repository import GENERATED

__all__ = ["MAX_LINES", "RunPython", "drawings", "run_block"]

MAX_LINES = 12
"""Lines of a block: a reader takes in about ten at a time."""
DARK_PAGE, DARK_WORDS = "#121212", "#ced6dd"
"""Colors of the theme in dark mode."""


def run_block(code: str, variables: dict, where: str):
    """Run a block.

    Args:
      code: Python.
      variables: global variables of the page, which the block changes.
      where: page and line, for the error.

    Returns:
      What it printed, and the value of its last line, None where that is no expression.

    Raises:
      ExtensionError: the block is too long, or raises an error.
    """
    if len(code.splitlines()) > MAX_LINES:
        raise ExtensionError(f"{where}: {len(code.splitlines())} lines of code; allowed: at most {MAX_LINES}")
    printed, value = io.StringIO(), None
    try:
        tree = ast.parse(code)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        with contextlib.redirect_stdout(printed):
            exec(compile(tree, where, "exec"), variables)
            if last is not None:
                value = eval(compile(ast.Expression(last.value), where, "eval"), variables)
    except Exception as error:
        raise ExtensionError(f"{where}: {type(error).__name__}: {error}") from error
    return printed.getvalue(), value


class RunPython(Directive):
    """The directive `{run-python}`; its option `:caption:` says what to see in the figure."""

    has_content = True
    option_spec = {"caption": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        """Run the block.

        Returns:
          The code, its output and its figure.
        """
        from matplotlib.figure import Figure

        env = self.state.document.settings.env
        pages = env.temp_data.setdefault("run_python", {"count": 0, "variables": {"__name__": "__page__"}})
        pages["count"] += 1
        where = f"{env.docname}:{self.lineno}"
        code = "\n".join(self.content)
        printed, value = run_block(code, pages["variables"], where)
        shown: list[nodes.Node] = [nodes.literal_block(code, code, language="python")]
        if isinstance(value, Figure):
            if "caption" not in self.options:
                raise ExtensionError(f"{where}: a figure without a caption")
            name = f"executed/{env.docname.replace('/', '-')}-{pages['count']}"
            caption, _ = self.state.inline_text(self.options["caption"], self.lineno)
            images = nodes.container()  # the theme hides a caption beside an image of the other mode
            for mode, svg in drawings(value).items():
                path = GENERATED / f"{name}-{mode}.svg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(svg, encoding="utf-8")
                address = f"/generated/{path.relative_to(GENERATED)}"
                images += nodes.image(uri=address, alt=self.options["caption"], classes=[f"only-{mode}"])
            value = None
            figure = nodes.figure("", images, nodes.caption("", "", *caption))
        else:
            figure = None
        text = printed + (f"{value!r}\n" if value is not None else "")
        if text:
            shown.append(nodes.literal_block(text, text, language="none", classes=["output"]))
        return shown + ([figure] if figure is not None else [])


def drawings(figure) -> dict[str, str]:
    """Draw a figure for a light and for a dark page.

    Args:
      figure: of matplotlib.

    Returns:
      "light" and "dark" -> SVG. Dark, what was white has the color of the page, and black lines and words are light.
    """
    file = io.StringIO()
    figure.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None})
    light = file.getvalue()
    dark = light.replace("#ffffff", DARK_PAGE).replace("#000000", DARK_WORDS)
    return {"light": light, "dark": dark.replace("<svg ", f'<svg fill="{DARK_WORDS}" ', 1)}
