"""Exemplar CNN: learn features by classifying augmented views, each training image a class of its own.

python -m experiments.self_supervised.exemplar             (pretext 72 %; k-NN 95.8 %, untrained 81.2 %; 3 min)
python -m experiments.self_supervised.exemplar --dataset=fashion_mnist --data_dir=D --exemplars=2000 \\
    --model.stem_stride=2 --model.width=16 --steps=6000 --fine_tune=200,2000                                 (not run)

Training sees the first --exemplars images alone. `exemplar_accuracy` is that of new views of these images; other images
belong to no exemplar, so that validation and test have no loss.
"""

import dataclasses
from typing import Annotated, Any

import numpy as np

from dlcore.data.source import Source
from dlcore.experiment import Experiment, Range, Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError
from dlcore.experiment.splits import Splits
from dlcore.kits.training.optimizer import AdamW
from dlcore.learner import Evaluator
from dlcore.main import main
from dlcore.self_supervised import exemplar
from dlcore.tasks.encoders import SMOKE
from dlcore.tasks.pretext import PretextImages, task_accuracy
from dlcore.tasks.unlabeled_images import RandomViews

MEASURED = 1000
"""Exemplars, at most, of which new views are classified."""


@dataclasses.dataclass(frozen=True)
class Exemplars(RandomViews, PretextImages):
    """Random views of images, whose class is the image.

    Args:
      exemplars: training images, each a class of its own
    """

    exemplars: Annotated[int, Range(2)] = 1000

    def data(self, flags: Flags) -> Splits:
        """Load images; an exemplar's class is its place in the training split."""
        splits = super().data(flags)
        count = min(flags.exemplars, len(splits.train))
        if count < flags.exemplars and "exemplars" in flags.given:
            raise FlagError(f"--exemplars={flags.exemplars}: more than images; allowed: at most {len(splits.train)}")

        def numbered(source: Source, numbers: np.ndarray) -> Source:
            return dataclasses.replace(source, arrays={**source.arrays, "exemplar": numbers.astype(np.int32)})

        train = splits.train.take(count)
        other_splits = {name: getattr(splits, name) for name in ("valid", "test")}
        message = f"{count} exemplars, all training images; --exemplars={flags.exemplars} are more than there are"
        return splits._replace(
            spec={**splits.spec, "exemplars": count, "batch": {**splits.spec["batch"], "exemplar": [[], "int32"]}},
            notes=(*splits.notes, message) if count < flags.exemplars else splits.notes,
            train=numbered(train, np.arange(len(train))),
            **{name: numbered(source, np.full(len(source), -1)) for name, source in other_splits.items()},
        )

    def num_classes(self, setup: Setup) -> int:
        return setup.spec.get("exemplars", setup.flags.exemplars)

    def arguments(self, setup: Setup) -> dict[str, Any]:
        return {**super().arguments(setup), "augment": self.augmentation(setup.flags)}

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
        measured = task_accuracy(splits.train.take(MEASURED), "exemplar_accuracy")
        return [*super().evaluators(setup, splits, split), measured]


experiment = Experiment(
    __file__,
    __doc__,
    exemplar.learner,
    task=Exemplars(),
    optimizer=AdamW(weight_decay=1e-4),
    defaults={"steps": 2000},
    smoke={**SMOKE, "exemplars": 100},
)

if __name__ == "__main__":
    main(experiment)
