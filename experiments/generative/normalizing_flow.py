"""Glow and RealNVP: normalizing flows that generate crops of photographs in one pass, with exact likelihood.

python -m experiments.generative.normalizing_flow                             (1.30 bits; independent pixels 3.68)
python -m experiments.generative.normalizing_flow --flow.mixing=swap                     (RealNVP)
python -m experiments.generative.normalizing_flow --mode=evaluate --run=RUN --temperature=0.7
python -m experiments.generative.normalizing_flow --dataset=cifar10 --data_dir=D --levels=256 --flow.num_levels=3 \\
    --flow.num_steps=32 --flow.width=512                                                    (not run)

`bits_per_dim_16_levels` is -log2 p of a test image per value, of pixels with 16 levels; it stands beside that of pixels
that do not depend on each other. The samples' Fréchet distance stands beside it.
"""

import dataclasses
from typing import Any, ClassVar

from dlcore.experiment import Experiment, Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.splits import Splits
from dlcore.generative import likelihood, normalizing_flow
from dlcore.generative.normalizing_flow import NormalizingFlow
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.image_generation import ImageGeneration
from dlcore.tasks.pixel_sequences import independent_nats
from experiments.classification.supervised import experiment as classifier
from experiments.smoke import few_samples


@dataclasses.dataclass(frozen=True)
class ImageLikelihoods(ImageGeneration):
    """Generated images, and the likelihood of real ones."""

    monitor = "loss"
    headline = "bits_per_dim_16_levels"
    plain: ClassVar[dict[str, Any]] = {"ema": None, "weight_decay": 0.0}

    def data(self, flags: Flags) -> Splits:
        splits = ImageGeneration.data(flags)
        nats, name = independent_nats(flags, splits), f"{flags.levels}_levels"
        bits = float(likelihood.nats_to_bits(nats, splits.train.arrays["image"][0].size))
        rule = "independent pixels"
        trivial = {f"nll_nats_{name}": (nats, rule), f"bits_per_dim_{name}": (bits, rule)}
        message = f"{rule} have {nats:.2f} nats an image on the test split, {bits:.3f} bits a dimension"
        return splits._replace(spec={**splits.spec, "trivial": trivial}, notes=(*splits.notes, message))


def arguments(setup: Setup) -> dict:
    shape = tuple(setup.spec["image_shape"])
    return {"model": NormalizingFlow(shape, **setup.flags.group("flow")), "shape": shape}


experiment = Experiment(
    __file__,
    __doc__,
    normalizing_flow.learner,
    task=ImageLikelihoods(classifier=classifier),
    optimizer=AveragedAdamW(learning_rate=1e-3, weight_decay=0.0, clip_norm=1.0, ema=0.999),
    arguments=arguments,
    modules={"flow": NormalizingFlow},
    defaults={
        "dataset": "photographs",
        "image_size": 16,
        "epochs": 20.0,
        "batch_size": 64,
        "eval_every": 500,
        "flow.num_steps": 6,
    },
    smoke={**few_samples(3), "image_size": 8, "flow.num_steps": 1, "flow.width": 4},
)

if __name__ == "__main__":
    main(experiment)
