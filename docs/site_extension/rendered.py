"""What the built pages show: every word of their source, and no Markdown that was not read as such.

A page whose text Markdown reads as a comment or as a broken link is built without a warning, and lacks that text.
"""

import html
import re
from collections import Counter

from site_extension.book import PageError

__all__ = ["check_page", "shown_text", "words_of_source"]

WORD = re.compile(r"[^\W_]+")
FENCED = re.compile(r"^ *(`{3,}|~{3,})[^\n]*\n.*?^ *\1`*~*[ \t]*$", re.MULTILINE | re.DOTALL)
MATH = re.compile(r"(?<!\\)\$\$.*?\$\$|(?<![\\$\w])\$(?=\S)[^$]*?(?<=[^\s\\])\$(?!\d)", re.DOTALL)
PICTURE = re.compile(r"!\[[^\]]*\]\([^)\s]*\)(?:\{[^}\n]*\})?")
LINK_ADDRESS = re.compile(r"\]\((?:[^()\s]|\([^()\s]*\))*\)")
OUTSIDE_TEXT = re.compile(r"^---\n.*?^---$|<!--.*?-->", re.MULTILINE | re.DOTALL)
DIRECTIVE_LINE = re.compile(r"^ *:{3,}.*$|^ *:[a-z-]+:.*$|^\([\w.-]+\)=$", re.MULTILINE)
"""Fences, options and labels."""
CODE = re.compile(r"<(script|style|pre|code)\b.*?</\1>|<(span|div) class=\"math\b.*?</\2>", re.DOTALL)
BLOCK_TAG = re.compile(r"</?(?:p|div|li|ul|ol|dl|dt|dd|t[dhr]|table|h\d|br|hr|section|figure|figcaption|pre)\b[^>]*>")
TAG = re.compile(r"<[^>]*>")
LEFTOVERS = ("](", "{ref}", "{doc}", "{numref}")
"""Markdown that no page shows outside of code."""


def words_of_source(source: str) -> Counter[str]:
    """Count the words that a page must show.

    Args:
      source: Markdown.

    Returns:
      Word -> how often it stands outside of code blocks, equations, addresses of links and directives.
    """
    text = FENCED.sub(" ", OUTSIDE_TEXT.sub(" ", source))
    for pattern in (DIRECTIVE_LINE, MATH, PICTURE):
        text = pattern.sub(" ", text)
    # Markup inside of a word, as in `Evaluator`s, does not split it.
    text = re.sub(r"`|(?<!\\)\*|^ *\d+[.)] ", "", TAG.sub(" ", LINK_ADDRESS.sub("] ", text)), flags=re.MULTILINE)
    return Counter(WORD.findall(html.unescape(text)))


def shown_text(page: str, with_code: bool = True) -> str:
    """Read the text of a built page.

    Args:
      page: HTML.
      with_code: whether code counts as text.

    Returns:
      The text of its article, without tags.
    """
    found = re.search(r"<article\b.*</article>", page, re.DOTALL)
    text = found[0] if found else page
    if not with_code:
        text = CODE.sub(" ", text)
    return html.unescape(TAG.sub("", BLOCK_TAG.sub(" ", text)))


def check_page(name: str, source: str, page: str) -> None:
    """Check that a built page shows its source.

    Args:
      name: the page, for the error.
      source: its Markdown.
      page: its HTML.

    Raises:
      PageError: words of the source are missing, or Markdown stands in the text.
    """
    missing = words_of_source(source) - Counter(WORD.findall(shown_text(page)))
    if missing:
        raise PageError(f"{name}: the page lacks {missing.total()} words of its source: {' '.join(list(missing)[:12])}")
    text = shown_text(page, with_code=False)
    for leftover in LEFTOVERS:
        if leftover in text:
            place = text.index(leftover)
            raise PageError(
                f"{name}: the page shows Markdown: {' '.join(text[max(0, place - 40) : place + 40].split())!r}"
            )
