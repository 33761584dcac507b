"""Result of a training; it prints a few lines, and shows its curves in a notebook."""

from dataclasses import dataclass, field
from html import escape
from typing import Any

import jax

from dlcore.cost.memory import readable
from dlcore.run.progress import duration

__all__ = ["Result"]

MAX_NUMBERS = 5
"""Largest number of printed values of a row."""


@dataclass(repr=False)
class Result:
    """Result of `fit`.

    Args:
      state: the learner's last state.
      step: number of steps done, including those before a resume.
      history: rows of the log.
      stopped: whether a hook ended the run before its last step.
      best_step: step of the best checkpoint; None if nothing was monitored.
      seconds: time in training steps, including those before a resume.
      seconds_before: part of `seconds` in earlier processes.
      compile_seconds: time until the first step could run.
      wait_fraction: fraction of this process' training time spent waiting for batches.
      memory: bytes by kind, see `dlcore.cost.memory.memory_report`.
      first_step: number of steps done before this call; `step` itself if the run had finished and none was trained.
    """

    state: Any
    step: int
    history: list[dict]
    stopped: bool = False
    best_step: int | None = None
    seconds: float = 0.0
    seconds_before: float = 0.0
    compile_seconds: float = 0.0
    wait_fraction: float = 0.0
    memory: dict[str, int] = field(default_factory=dict)
    first_step: int = 0

    def __repr__(self) -> str:
        before = f", {self.first_step:,} of them before this call" if self.first_step else ""
        stopped = ", stopped by a hook" if self.stopped else ""
        facts = {"steps": f"{self.step:,}{before}{stopped}", **self._last_rows()}
        if self.best_step is not None:
            facts["best"] = f"step {self.best_step:,}"
        facts["time"] = (
            f"{duration(self.seconds)} in steps, {duration(self.compile_seconds)} until the first one, "
            f"{100 * self.wait_fraction:.1f} % waiting for data"
        )
        facts["memory"] = ", ".join(f"{name} {readable(count)}" for name, count in self.memory.items())
        leaves = len(jax.tree.leaves(self.state))
        facts["more"] = f".history ({len(self.history)} rows), .state ({type(self.state).__name__} of {leaves} arrays)"
        return "Result\n" + "\n".join(f"  {name:8}{text}" for name, text in facts.items() if text)

    def _last_rows(self) -> dict[str, str]:
        """Format the first numbers of each split's last row."""
        rows = {row["split"]: row for row in self.history}
        hidden = ("step", "split", "epoch", "seconds", "examples_per_second")
        texts = {}
        for split, row in rows.items():
            numbers = {k: v for k, v in row.items() if k not in hidden and isinstance(v, int | float)}
            parts = [f"{name} {value:.4g}" for name, value in list(numbers.items())[:MAX_NUMBERS]]
            more = f" and {len(numbers) - MAX_NUMBERS} more" if len(numbers) > MAX_NUMBERS else ""
            texts[split] = f"{', '.join(parts)}{more}, at step {row['step']:,}"
        return texts

    def _repr_html_(self) -> str:
        from dlcore.report.curves import curves
        from dlcore.report.html import render

        cards = {"steps": f"{self.step:,}", "time in steps": duration(self.seconds)}
        page = render("Result", [curves(self.history)], cards)
        return f'<iframe srcdoc="{escape(page)}" style="width: 100%; height: 640px; border: 0"></iframe>'
