"""Text that a language model has written, as a panel of a report."""

from collections.abc import Sequence
from html import escape

from dlcore.report.panel import Panel

__all__ = ["text_samples"]


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
