"""What the folder of a trial, or of several trials in one step, trains: stored there, and compared before a resume.

A search finds its folders by number, so that a folder of another search would pass for its own.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.run.json_files import json_text, read_json, write_json
from dlcore.setting import FlagError

__all__ = ["OtherTraining", "TrialFolder"]

CONTENT = "trial.json"
MAX_CHANGES = 4
"""Largest number of differences that an error names."""


class OtherTraining(FlagError):
    """The folder holds another training."""


class TrialFolder(NamedTuple):
    """A folder and the training that belongs there.

    Args:
      path: the folder.
      run: the resolved run of the trial, or of one of several trials.
      rows: {setting: value} of each of several trials in one step; empty for one trial.
      facts: what else decides the training, {name: JSON-able value}.
    """

    path: Path
    run: ResolvedRun
    rows: Sequence[dict] = ()
    facts: dict[str, Any] = {}

    def check(self) -> None:
        """Check that the folder is new, or holds this training.

        Raises:
          OtherTraining: it holds another one; the message names what differs.
        """
        path = self.path / CONTENT
        if path.exists():
            before, now = read_json(path), self._content()
            # A flag that is newer than the folder has its default, which is what the folder did.
            names = [
                k for k in {**before, **now} if k in before or k not in self.run.identity or k in self.run.flags.given
            ]
            changes = [_change(k, before.get(k), now.get(k)) for k in names if before.get(k) != now.get(k)]
        elif (self.path / "checkpoints").exists():
            changes = ["its settings are not stored"]
        else:
            return
        if changes:
            more = f" and {len(changes) - MAX_CHANGES} more" if len(changes) > MAX_CHANGES else ""
            raise OtherTraining(
                f"{self.path} holds another training: {'; '.join(changes[:MAX_CHANGES])}{more}; allowed: the same "
                "search, another --out, or to delete that folder"
            )

    def claim(self) -> Path:
        """Store what the folder trains, or check that it trains the same.

        Returns:
          The folder.

        Raises:
          OtherTraining: it holds another training.
        """
        self.check()
        if not (self.path / CONTENT).exists():
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(self.path / CONTENT, self._content())
        return self.path

    def _content(self) -> dict[str, Any]:
        """List everything that decides the training, by name."""
        columns = {k: [row[k] for row in self.rows] for k in (self.rows[0] if self.rows else ())}
        content = {"experiment": self.run.experiment.name, **self.run.identity, **columns, **self.facts}
        return json.loads(json_text(content))


def _change(name: str, before: Any, now: Any) -> str:
    """Describe a difference; of two lists of numbers by their first, or by their lengths."""
    if isinstance(before, list) and isinstance(now, list) and before and now:
        if len(before) != len(now):
            return f"{len(before)} values of {name} there, {len(now)} here"
        index = next(i for i, pair in enumerate(zip(before, now, strict=True)) if pair[0] != pair[1])
        return f"{name}[{index}]={before[index]} there, {now[index]} here"
    return f"{name}={before} there, {now} here"
