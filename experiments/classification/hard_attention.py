"""Hard attention by REINFORCE, soft attention or a random glimpse: find the digit in a scene, and classify it.

python -m experiments.classification.hard_attention                     (looks 100 %, accuracy 96.6 %, 90 s of one core)
python -m experiments.classification.hard_attention --attention=soft                                          (not run)
python -m experiments.classification.hard_attention --attention=random --steps=600     (looks 7.9 %, accuracy 15.3 %)
python -m experiments.classification.hard_attention --clutter=4    (pieces of other digits lie about; not run)

A scene has 60 x 60 pixels of noise, of which a handwritten digit covers 16 x 16 (7.1 %). `looks` is the share of
glimpses whose center lies on the digit.
"""

import dataclasses
import math
from typing import Annotated, Any

import numpy as np

from dlcore.classification import hard_attention
from dlcore.data.digit_scenes import digit_scenes
from dlcore.experiment import Experiment, PositiveInt, Range, Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError
from dlcore.experiment.splits import Splits
from dlcore.experiment.task import Task
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from experiments.smoke import few_steps

SHOWN = 24


@dataclasses.dataclass(frozen=True)
class DigitScenes(Task):
    """Scenes of noise with a digit each.

    Args:
      scene_size: side of a scene, in pixels, a multiple of --network.grid
      clutter: pieces of other digits in a scene
      num_scenes: training scenes
      num_test_scenes: test scenes; half as many validate
    """

    scene_size: Annotated[int, Range(16)] = 60
    clutter: Annotated[int, Range(0)] = 0
    num_scenes: PositiveInt = 8000
    num_test_scenes: Annotated[int, Range(2)] = 2000

    def data(self, flags: Flags) -> Splits:
        """Draw the scenes; those of training, validation and test share no digit."""
        size, grid = flags.scene_size, flags["network.grid"]
        if size % grid:
            raise FlagError(
                f"--scene_size={size}: not a multiple of --network.grid={grid}; allowed: {grid}, {2 * grid}, ..."
            )
        counts = {"train": flags.num_scenes, "valid": flags.num_test_scenes // 2, "test": flags.num_test_scenes}
        splits = {
            split: digit_scenes(split, count, seed, size=size, clutter=flags.clutter)
            for seed, (split, count) in enumerate(counts.items())
        }
        spec = {"dataset": "digit scenes", "class_names": list(splits["train"].class_names), "scene_size": size}
        return Splits(splits["train"], splits["valid"], splits["test"], spec)

    def arguments(self, setup: Setup) -> dict[str, Any]:
        num_classes, fields = len(setup.spec["class_names"]), setup.flags.group("network")
        return {"model": hard_attention.GlimpseNetwork(num_classes, **fields, dtype=setup.dtype)}

    def expected_loss(self, setup: Setup) -> float:
        return math.log(len(setup.spec["class_names"]))

    def panels(self, context: Any) -> list:
        """Show scenes with the policy as a red veil and the glimpse's frame, the glimpses, and the curves."""
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


experiment = Experiment(
    __file__,
    __doc__,
    hard_attention.learner,
    task=DigitScenes(),
    optimizer=AdamW(learning_rate=3e-3, weight_decay=0.01),
    modules={"network": hard_attention.GlimpseNetwork},
    defaults={"steps": 1200, "batch_size": 64, "eval_every": 300},
    smoke={
        **few_steps(4),
        "eval_batch_size": 8,
        "scene_size": 24,
        "num_scenes": 64,
        "num_test_scenes": 32,
        "network.grid": 4,
        "network.width": 4,
    },
)

if __name__ == "__main__":
    main(experiment)
