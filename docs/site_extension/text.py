"""Docstrings, which are plain text, as Markdown."""

import re

__all__ = ["escape", "has_equation", "has_reference", "lead", "markdown"]

SPECIAL = re.compile(r"([\\*_<>\[\]{}$|#~^&])")
ARXIV = re.compile(r"\barXiv:(\d{4}\.\d{4,5})\b")
DOI = re.compile(r"\bdoi:(10\.\d{4,}/[^\s),;]*[^\s),;.])")
PAGE_COLUMNS = 88
"""Characters of code in a line of a page."""
COMMAND = re.compile(r"^(python|dlcore|cp|export) ")


def escape(text: str) -> str:
    """Protect what Markdown would read as markup, outside of `code`.

    Args:
      text: plain text with code in single backticks.

    Returns:
      Markdown that shows the text as it stands.
    """
    parts = re.split(r"(`[^`\n]+`)", text)
    escaped = "".join(part if i % 2 else SPECIAL.sub(r"\\\1", part).replace("`", r"\`") for i, part in enumerate(parts))
    return re.sub(r"^(\s*)(%|(?:[-+=]|\d+[.)])(?=\s|$))", r"\1\\\2", escaped)


def lead(text: str) -> str:
    """The first paragraph of a docstring as one line.

    Args:
      text: docstring.

    Returns:
      The line, not escaped.
    """
    return " ".join(text.split("\n\n")[0].split())


def markdown(text: str) -> str:
    """Convert a docstring.

    Args:
      text: docstring: paragraphs, "- " lists, commands that begin a line, and indented blocks, such as equations.

    Returns:
      Markdown: commands and indented blocks are fenced, all else is escaped.
    """
    blocks: list[str] = []
    for block in re.split(r"\n[ \t]*\n", text.strip("\n")):
        lines = block.rstrip().splitlines()
        while lines:
            if lines[0].startswith("    ") or (lines[0].startswith("  ") and not blocks):
                size = next((i for i, line in enumerate(lines) if not line.startswith("  ")), len(lines))
                indent = min(len(line) - len(line.lstrip()) for line in lines[:size])
                blocks.append("\n".join(["```text", *[_narrowed(line[indent:]) for line in lines[:size]], "```"]))
            elif COMMAND.match(lines[0]):
                size = next(
                    (i for i in range(1, len(lines)) if not (COMMAND.match(lines[i]) or lines[i].startswith(" "))),
                    len(lines),
                )
                commands = [re.sub(r" {2,}\((.*)\)$", r"  # \1", line) for line in lines[:size]]
                blocks.append("\n".join(["```bash", *commands, "```"]))
            elif lines[0].lstrip().startswith("- "):
                size = len(lines)
                items = re.split(r"^ *- ", block.strip(), flags=re.MULTILINE)[1:]
                blocks.append("\n".join(f"- {_linked(escape(' '.join(item.split())))}" for item in items))
            else:
                size = next((i for i, line in enumerate(lines) if i and line.startswith("    ")), len(lines))
                size = next((i for i, line in enumerate(lines[:size]) if i and COMMAND.match(line)), size)
                blocks.append(_linked(escape(" ".join(" ".join(lines[:size]).split()))))
            lines = lines[size:]
    return "\n\n".join(blocks)


def _narrowed(line: str) -> str:
    """Move a remark at the end of a line nearer, where the line is wider than a page."""
    return re.sub(r"^(.{30,}?\S) {5,}(?=[A-Za-z])", r"\1    ", line) if len(line) > PAGE_COLUMNS else line


def _linked(text: str) -> str:
    """Make links of the sources that a text names by number."""
    text = ARXIV.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", text)
    return DOI.sub(r"[doi:\1](https://doi.org/\1)", text)


def has_equation(text: str) -> bool:
    """Whether a docstring states an equation: an indented block, or a formula in its text.

    Args:
      text: docstring.

    Returns:
      True or False.
    """
    return bool(re.search(r"^ {4,}\S", text, re.MULTILINE) or re.search(r"\w\)? = \S", text))


def has_reference(text: str) -> bool:
    """Whether a docstring names a source by its year.

    Args:
      text: docstring.

    Returns:
      True or False.
    """
    return bool(re.search(r"\b(1[6-9]\d\d|20\d\d)\b", text))
