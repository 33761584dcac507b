"""DINO: learn features by self-distillation with an EMA teacher, without labels and negatives.

python -m experiments.self_supervised.dino                                      (k-NN 62 %, untrained 82 %)
python -m experiments.self_supervised.dino --model=vit_tiny_cifar --model.image_size=16 --model.patch_size=4 \\
    --model.width=64 --model.depth=3 --model.num_heads=4 --model.mlp_features=256                     (not run)
python -m experiments.self_supervised.dino --dataset=fashion_mnist --data_dir=D --model.stem_stride=2 \\
    --model.width=16 --steps=10000 --eval_every=5000 --teacher_temperature=0.09,0.09       (k-NN 79 %, untrained 69 %)

A small network needs batch norm in the head (`--head.batch_norm`), since its features hardly differ from image to
image, and prototypes that stand still (`--freeze`, in epochs): they would turn away from all images, until outputs are
uniform (entropy 0.63 after 500 steps where they stand still, 0.82 and rising where they learn). The report shows where
a ViT attends.
In 10,000 steps a teacher at the paper's temperatures becomes sure of one prototype for each image: entropy 0.015, k-NN
77.7 %. At 0.09 its entropy stays between 0.57 and 0.91. At the student's 0.1 k-NN does not rise in 2,000 steps.
Watch `entropy` (the teacher's, by its largest: 1 is a collapse to uniform outputs), `usage` (0: one output for all
images), `kl` (0: nothing to learn) and `center_norm`.
"""

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.augment import to_float
from dlcore.data.augment.recipes import contrastive_augmentation
from dlcore.data.normalization import normalizer
from dlcore.experiment import Experiment, Setup
from dlcore.experiment.setting import FlagError
from dlcore.kits.images import labeled_images
from dlcore.kits.self_supervised import encoders
from dlcore.kits.training import backbone
from dlcore.kits.training.optimizer import AdamW
from dlcore.learner import Range
from dlcore.main import main
from dlcore.models.vit import ViT
from dlcore.optim.ema import cosine_momentum
from dlcore.report.self_supervised import attention_maps
from dlcore.self_supervised import dino
from dlcore.self_supervised.networks import DINONet
from dlcore.tasks.encoders import SMOKE
from dlcore.tasks.unlabeled_images import RandomViews


def check_global_area(area: tuple[float, float]) -> None:
    check_rising("global_area", area)


def check_local_area(area: tuple[float, float]) -> None:
    check_rising("local_area", area)


def check_rising(name: str, area: tuple[float, float]) -> None:
    """Check that a range begins at its smaller end."""
    if area[0] > area[1]:
        raise ValueError(f"{name}={area[0]:g},{area[1]:g}: the first is larger; allowed: the smaller share first")


@dataclasses.dataclass(frozen=True)
class Crops(RandomViews):
    """Large and small crops of each image, of which a teacher sees the large ones.

    Args:
      local_size: side of small crops in pixels; by default half of the input's
      global_area: range of the share of the image that a large crop shows
      local_area: range of the share of the image that a small crop shows
      teacher_momentum: initial momentum of the EMA teacher; it rises to 1
      teacher_temperature: temperature of the teacher, at first and after the warm-up
      temperature_warmup: share of the steps in which the teacher's temperature rises
      freeze: epochs in which the last layer is frozen
    """

    local_size: Annotated[int | None, Range(1)] = None
    global_area: Annotated[tuple[float, float], Range(1e-3, 1), check_global_area] = (0.4, 1.0)
    local_area: Annotated[tuple[float, float], Range(1e-3, 1), check_local_area] = (0.1, 0.4)
    teacher_momentum: Annotated[float, Range(0, 1)] = 0.996
    teacher_temperature: Annotated[tuple[float, float], Range(1e-3)] = (0.04, 0.07)
    temperature_warmup: Annotated[float, Range(0, 1)] = 0.3
    freeze: Annotated[float, Range(0)] = 1.0

    modules = {"head": DINONet}

    def crops(self, setup: Setup):
        """The augmentations that draw large and small crops."""
        flags, side = setup.flags, labeled_images.shorter_side(setup.flags, setup.spec)
        small = flags.local_size or side // 2
        stride = getattr(backbone.build(setup, num_classes=1), "patch_size", 1)
        if small % stride or not 0 < small <= side:
            raise FlagError(
                f"--local_size={small}: no small crop; allowed: multiples of the patch's side {stride}, at most {side}"
            )
        kind = self.kind_of_views(flags)
        return (
            contrastive_augmentation(kind, tuple(flags.global_area), side),
            contrastive_augmentation(kind, tuple(flags.local_area), small),
        )

    def arguments(self, setup: Setup) -> dict[str, Any]:
        flags, spec = setup.flags, setup.spec
        large, small = self.crops(setup)
        first, last = flags.teacher_temperature
        warmup = max(1, round(flags.temperature_warmup * setup.steps))
        frozen = round(flags.freeze * spec.get("train_size", 0) / flags.batch_size)
        return {
            "model": DINONet(encoders.backbone_without_head(setup), **flags.group("head")),
            "augment": large,
            "augment_local": small,
            "teacher_momentum": cosine_momentum(flags.teacher_momentum, setup.steps),
            "teacher_temperature": lambda step: first + (last - first) * jnp.minimum(step / warmup, 1.0),
            "last_layer": lambda step: jnp.where(step < frozen, 0.0, 1.0),
            "preprocess": labeled_images.preprocess(setup),
            "normalize": normalizer(spec["mean"], spec["std"], dtype=setup.dtype),
        }

    def encoder(self, setup: Setup):
        """The teacher's backbone."""

        def teacher(state):
            trees = {"params": state.teacher_params, **state.teacher_model_state}
            return {name: leaves["backbone"] for name, leaves in trees.items() if "backbone" in leaves}

        return encoders.backbone_encoder(setup, teacher)

    def pretext_panels(self, context) -> list:
        """Where the teacher's ViT attends."""
        setup = Setup(context.flags, context.spec, 1, jnp.float32)
        model, images = encoders.backbone_without_head(setup), to_float(context.data.test.arrays["image"][:8])
        if not isinstance(model, ViT):
            return []
        variables = {"params": context.state.teacher_params["backbone"]}
        x = labeled_images.preprocess(setup)(images)
        _, inside = jax.jit(lambda v, x: model.apply(v, x, mutable=["intermediates"]))(variables, x)
        weights = inside["intermediates"][f"blocks_{model.depth - 1}"]["attn"]["weights"][0][:, :, 0, 1:]
        rows = x.shape[1] // model.patch_size
        pixels = np.asarray(jax.image.resize(images, (*x.shape[:3], images.shape[-1]), "nearest"))
        return [attention_maps(pixels, np.asarray(weights).reshape(*weights.shape[:2], rows, -1))]


experiment = Experiment(
    __file__,
    __doc__,
    dino.learner,
    task=Crops(
        freeze=100.0,
        teacher_momentum=0.99,
        teacher_temperature=(0.04, 0.04),
        global_area=(0.7, 1.0),
        local_area=(0.4, 0.8),
    ),
    optimizer=AdamW(learning_rate=1e-3, clip_norm=3.0),
    defaults={
        "head.outputs": 256,
        "head.hidden_features": 128,
        "head.bottleneck": 32,
        "head.batch_norm": True,
        "local_crops": 2,
        "steps": 1500,
        "batch_size": 64,
        "eval_every": 300,
    },
    smoke={**SMOKE, "head.outputs": 8, "head.hidden_features": 8, "head.bottleneck": 4, "local_crops": 1},
)

if __name__ == "__main__":
    main(experiment)
