"""Text of a study's report: claim, method and references from its docstring, and the verdict.

A study's docstring has the claim in its first line, then paragraphs: the commands, the method, a paragraph that begins
with "Reference:" or "References:" (separated by semicolons) and one that begins with "Measured" or "Seen".
"""

import re
from html import escape
from typing import NamedTuple

from dlcore.report.panel import Panel

__all__ = ["StudyText", "claim_panels", "reference_panels", "sentences", "study_text"]


class StudyText(NamedTuple):
    """The parts of a study's docstring.

    Args:
      claim: the first line.
      method: paragraphs.
      measured: paragraphs about earlier runs.
      references: one per work.
    """

    claim: str
    method: tuple[str, ...]
    measured: tuple[str, ...]
    references: tuple[str, ...]


def study_text(doc: str) -> StudyText:
    """Split a study's docstring into its parts.

    Args:
      doc: the docstring.

    Returns:
      Its parts.
    """
    claim, *paragraphs = [part.strip("\n") for part in re.split(r"\n\s*\n", doc.strip())]
    parts: dict[str, list[str]] = {"method": [], "measured": [], "references": []}
    for paragraph in paragraphs:
        if paragraph.startswith("python -m "):
            continue
        if match := re.match(r"References?: (.*)", paragraph, re.DOTALL):
            works = " ".join(match[1].split()).rstrip(".").split("; ")
            parts["references"] += works
        elif re.match(r"(Measured|Seen|Not run)\b", paragraph):
            parts["measured"].append(paragraph)
        else:
            parts["method"].append(paragraph)
    return StudyText(" ".join(claim.split()), *(tuple(rows) for rows in parts.values()))


def sentences(verdict: str) -> list[str]:
    """Split a verdict into sentences.

    Args:
      verdict: text whose sentences end in a period and begin with a capital letter or a digit.

    Returns:
      The sentences.
    """
    return re.split(r"(?<=\.)(?<!\.[a-z]\.)(?<!\bal\.)\s+(?=[A-Z0-9])", " ".join(verdict.split()))


def claim_panels(doc: str, verdict: str, holds: bool | None) -> list[Panel]:
    """Show a study's claim, method and verdict.

    Args:
      doc: the study's docstring.
      verdict: text whose sentences become a list.
      holds: whether the claim held; None without a claim.

    Returns:
      The panels Claim (or Question, without a claim), Method and Verdict.
    """
    parts = study_text(doc)
    outcome = {True: "The claim held.", False: "The claim did not hold.", None: ""}[holds]
    panels = [Panel("Question" if holds is None else "Claim", f"<p>{escape(parts.claim)}</p>", outcome)]
    if parts.method:
        panels.append(Panel("Method", _paragraphs(parts.method)))
    bullets = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences(verdict))
    return [*panels, Panel("Verdict", f"<ul>{bullets}</ul>")]


def reference_panels(doc: str) -> list[Panel]:
    """Show a study's earlier measurements and references.

    Args:
      doc: the study's docstring.

    Returns:
      The panels Measured before and Reference, if the docstring has them.
    """
    parts, panels = study_text(doc), []
    if parts.measured:
        panels.append(Panel("Measured before", _paragraphs(parts.measured)))
    if parts.references:
        panels.append(
            Panel("Reference", "<ul>" + "".join(f"<li>{_linked(r)}</li>" for r in parts.references) + "</ul>")
        )
    return panels


def _paragraphs(paragraphs: tuple[str, ...]) -> str:
    """Convert paragraphs to HTML: indented lines are kept as they are, and "- " begins a list item."""
    return "".join(map(_paragraph, paragraphs))


def _paragraph(text: str) -> str:
    if re.search(r"^    ", text, re.MULTILINE):
        return f"<pre>{escape(text)}</pre>"
    if text.startswith("- "):
        return "<ul>" + "".join(f"<li>{_marked(item)}</li>" for item in text[2:].split("\n- ")) + "</ul>"
    return f"<p>{_marked(text)}</p>"


def _marked(text: str) -> str:
    """Convert text to HTML, backticks to code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _linked(reference: str) -> str:
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r'<a href="https://arxiv.org/abs/\1">arXiv:\1</a>', _marked(reference))
