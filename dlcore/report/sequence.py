"""Text that a language model has written or filled in, as a panel of a report."""

from collections.abc import Sequence
from html import escape

from dlcore.report.panel import Panel

__all__ = ["filled_text", "text_samples"]


def text_samples(
    prompts: Sequence[str], samples: Sequence[str], temperatures: Sequence[float], note: str = ""
) -> Panel:
    """Show samples, each after its prompt in bold.

    Args:
      prompts: what each sample continues.
      samples: one a prompt.
      temperatures: of each sample; 0 is greedy.
      note: a line under the title.

    Returns:
      The panel.
    """
    figures = [
        f"<figure><figcaption>{'greedy (temperature 0)' if t == 0 else f'temperature {t:g}'}</figcaption>"
        f'<pre style="white-space:pre-wrap;margin:.3em 0 1.2em"><b>{escape(prompt)}</b>{escape(sample)}</pre></figure>'
        for prompt, sample, t in zip(prompts, samples, temperatures, strict=True)
    ]
    return Panel("Samples", "".join(figures), note)


def filled_text(texts: Sequence[tuple[str, str, Sequence[bool]]], note: str = "") -> Panel:
    """Show texts with hidden characters, and below each how they were filled in.

    Args:
      texts: (text, text as it was filled in, which characters were hidden), all three of one length.
      note: a line under the title, after what the marks mean.

    Returns:
      The panel.
    """
    figures = []
    for text, filled, hidden in texts:
        shown = "".join("\u2581" if h else escape(c) for c, h in zip(text, hidden, strict=True))
        marks = []
        for right, put, h in zip(text, filled, hidden, strict=True):
            tag = "b" if put == right else "del"
            mark = escape(put if put.strip() else {"\n": "\u21b5"}.get(put, "\u2423"))
            marks.append(f"<{tag}>{mark}</{tag}>" if h else escape(put))
        body = f"{shown}\n<br>{''.join(marks)}"
        figures.append(f'<figure><pre style="white-space:pre-wrap;margin:.3em 0 1.2em">{body}</pre></figure>')
    meaning = "Bold characters were filled in right, struck out ones wrong. "
    return Panel("Hidden characters", "".join(figures), meaning + note)
