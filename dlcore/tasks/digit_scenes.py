"""Scenes of noise with a digit each, and what a policy that looks at them sees."""

import dataclasses
from typing import Annotated, ClassVar

import numpy as np

from dlcore.data.digit_scenes import digit_scenes
from dlcore.experiment.parts import Run
from dlcore.experiment.setting import FlagError
from dlcore.experiment.splits import Splits
from dlcore.learner import Range, check_record
from dlcore.report.context import ReportContext

__all__ = ["DigitScenes", "glimpse_panels"]

SHOWN = 24
"""Scenes in the report."""


@dataclasses.dataclass(frozen=True)
class DigitScenes:
    """Scenes of noise with a digit each.

    Args:
      scene_size: side of a scene, in pixels, a multiple of --network.grid
      clutter: pieces of other digits in a scene
      num_scenes: training scenes
      num_test_scenes: test scenes; half as many validate
    """

    scene_size: Annotated[int, Range(16)] = 60
    clutter: Annotated[int, Range(0)] = 0
    num_scenes: Annotated[int, Range(1)] = 8000
    num_test_scenes: Annotated[int, Range(2)] = 2000

    reads_files: ClassVar[bool] = False

    def __post_init__(self):
        check_record(self)

    def load(self) -> Splits:
        """Draw the scenes; those of training, validation and test share no digit."""
        counts = {"train": self.num_scenes, "valid": self.num_test_scenes // 2, "test": self.num_test_scenes}
        splits = {
            split: digit_scenes(split, count, seed, size=self.scene_size, clutter=self.clutter)
            for seed, (split, count) in enumerate(counts.items())
        }
        names = list(splits["train"].class_names)
        spec = {"dataset": "digit scenes", "class_names": names, "scene_size": self.scene_size}
        return Splits(splits["train"], splits["valid"], splits["test"], spec)

    def check(self, run: Run) -> None:
        """Check that the places of the network's grid fill a scene."""
        size, grid = self.scene_size, run.flags["network.grid"]
        if size % grid:
            raise FlagError(
                f"--scene_size={size}: not a multiple of --network.grid={grid}; allowed: {grid}, {2 * grid}, ..."
            )


def glimpse_panels(context: ReportContext) -> list:
    """Show scenes with the policy as a red veil and the glimpse's frame, the glimpses, and the curves.

    Returns:
      Report panels.
    """
    from dlcore.report.curves import curves
    from dlcore.report.pictures import examples
    from dlcore.report.triage import triage_panels

    test, outputs, names = context.data.test.arrays, context.outputs, context.spec["class_names"]
    size, grid = context.spec["scene_size"], context.flags["network.grid"]
    half = context.flags["glimpse_size"] // 2
    predicted = outputs["probabilities"][:SHOWN].argmax(-1)
    titles = [
        f"{names[label]}, read as {names[prediction]}"
        for label, prediction in zip(test["label"][:SHOWN], predicted, strict=True)
    ]
    images = []
    for scene, weights, looked in zip(
        test["image"][:SHOWN], outputs["attention"][:SHOWN], outputs["looked"][:SHOWN], strict=True
    ):
        veil = (weights / weights.max()).reshape(grid, grid).repeat(size // grid, 0).repeat(size // grid, 1)
        picture = np.repeat(scene / 255.0, 3, -1)
        picture[..., 1:] *= 1 - 0.5 * veil[..., None]
        picture[..., 0] += 0.3 * veil * (1 - picture[..., 0])
        if context.flags["attention"] != "soft":
            row, column = ((n + 0.5) * size / grid for n in divmod(int(looked.argmax()), grid))
            top, bottom, left, right = (
                int(np.clip(n, 0, size - 1)) for n in (row - half, row + half, column - half, column + half)
            )
            picture[[top, bottom], left : right + 1] = picture[top : bottom + 1, [left, right]] = (0.0, 0.6, 1.0)
        images.append(picture)
    scale = 2
    large = np.stack(images).repeat(scale, 1).repeat(scale, 2)
    caption = "red: where the policy would look; blue: the frame of the glimpse that was taken"
    return [
        examples(large, titles, "Scenes", caption, SHOWN),
        examples(outputs["glimpse"][:SHOWN].clip(0, 1), titles, "Glimpses", "what the classifier sees", SHOWN),
        *triage_panels(context.history, floor=None),
        curves(context.history),
    ]
