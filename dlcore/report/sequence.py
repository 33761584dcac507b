"""Report panels of generated and filled-in text, and of attention."""

from collections.abc import Sequence
from html import escape

import numpy as np

from dlcore.ops.checks import check_shapes
from dlcore.report.panel import Panel

__all__ = ["alignments", "filled_text", "text_samples"]

_INK = (59, 130, 246)


def alignments(
    weights: Sequence[np.ndarray],
    sources: Sequence[Sequence[str]],
    outputs: Sequence[Sequence[str]],
    title: str = "Attention",
    subtitle: str = "",
) -> Panel:
    """Show the attention from each output token to each source token.

    Args:
      weights: one [T, S] per pair, in [0, 1]; rows and columns beyond the tokens are left out.
      sources: the S tokens of each source.
      outputs: the T tokens of each output.
      title: title of the panel.
      subtitle: a line under the title.

    Returns:
      The panel: one map per pair, source tokens as columns, output tokens as rows; darker is more.
    """
    if not len(weights) == len(sources) == len(outputs):
        counts = f"weights={len(weights)}, sources={len(sources)}, outputs={len(outputs)}"
        raise ValueError(f"{counts}: not as many of each; allowed: one for each pair")
    for weight, source, output in zip(weights, sources, outputs, strict=True):
        shape = np.shape(weight)
        if len(shape) != 2 or shape[0] < len(output) or shape[1] < len(source):
            raise ValueError(
                f"weights: {shape} for {len(output)} and {len(source)} tokens; allowed: [T, S], as many or more"
            )
    maps = []
    for weight, source, output in zip(weights, sources, outputs, strict=True):
        tall = "tall" if max(map(len, source), default=0) > 2 else ""
        head = "".join(f'<th scope="col" class="{tall}"><span>{escape(token)}</span></th>' for token in source)
        rows = "".join(
            f'<tr><th scope="row">{escape(token)}</th>{_weight_cells(np.asarray(row), token, source)}</tr>'
            for token, row in zip(output, weight, strict=False)  # rows of padding, and an end that was not reached
        )
        table = f'<table class="confusion"><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table>'
        maps.append(f'<div class="scroll" style="margin:.3em 0 1.6em">{table}</div>')
    return Panel(title, "".join(maps), subtitle)


def _weight_cells(row: np.ndarray, token: str, source: Sequence[str]) -> str:
    red, green, blue = _INK
    return "".join(
        f'<td style="background:rgba({red},{green},{blue},{weight:.2f});min-width:22px;height:22px" '
        f'title="{escape(token)} → {escape(column)}: {weight:.2f}"></td>'
        for column, weight in zip(source, row, strict=False)  # columns of padding
    )


def text_samples(
    prompts: Sequence[str], samples: Sequence[str], temperatures: Sequence[float], subtitle: str = ""
) -> Panel:
    """Show samples, each after its prompt in bold.

    Args:
      prompts: text that each sample continues.
      samples: one per prompt.
      temperatures: temperature of each sample; 0 is greedy.
      subtitle: a line under the title.

    Returns:
      The panel.
    """
    if not len(prompts) == len(samples) == len(temperatures):
        counts = f"prompts={len(prompts)}, samples={len(samples)}, temperatures={len(temperatures)}"
        raise ValueError(f"{counts}: not as many of each; allowed: one for each sample")
    check_shapes(temperatures=(temperatures, "... >= 0"))
    figures = [
        f"<figure><figcaption>{'greedy (temperature 0)' if t == 0 else f'temperature {t:g}'}</figcaption>"
        f'<pre style="white-space:pre-wrap;margin:.3em 0 1.2em"><b>{escape(prompt)}</b>{escape(sample)}</pre></figure>'
        for prompt, sample, t in zip(prompts, samples, temperatures, strict=True)
    ]
    return Panel("Samples", "".join(figures), subtitle)


def filled_text(texts: Sequence[tuple[str, str, Sequence[bool]]], subtitle: str = "") -> Panel:
    """Show texts with hidden characters, and the predicted characters.

    Args:
      texts: (text, filled-in text, mask of hidden characters), all of one length.
      subtitle: a line under the title, after the meaning of the marks.

    Returns:
      The panel.
    """
    figures = []
    for text, filled, hidden in texts:
        if not len(text) == len(filled) == len(hidden):
            raise ValueError(
                f"texts: {len(text)}, {len(filled)} and {len(hidden)} characters; allowed: three of one length"
            )
        visible = "".join("\u2581" if is_hidden else _visible(c) for c, is_hidden in zip(text, hidden, strict=True))
        marks = []
        for target, predicted, is_hidden in zip(text, filled, hidden, strict=True):
            tag = "b" if predicted == target else "del"
            marks.append(f"<{tag}>{_visible(predicted, blank=True)}</{tag}>" if is_hidden else _visible(predicted))
        rows = {"given": visible, "filled in": "".join(marks), "text": "".join(map(_visible, text))}
        body = "\n".join(f"{name:12}{row}" for name, row in rows.items())
        figures.append(f'<figure><pre style="white-space:pre-wrap;margin:.3em 0 1.2em">{body}</pre></figure>')
    meaning = "Bold: correct; struck out: wrong. "
    return Panel("Hidden characters", "".join(figures), meaning + subtitle)


def _visible(character: str, blank: bool = False) -> str:
    """Escape a character for HTML: a newline as an arrow and, with `blank`, a space as a bracket."""
    if character == "\n":
        return "\u21b5"
    return "\u2423" if blank and not character.strip() else escape(character)
