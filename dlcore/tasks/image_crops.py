"""MultiCrops, TeacherCrops and TokenCrops: crops of images by name, which a network assigns to prototypes.

experiment = Experiment(
    __file__, __doc__, dino.learner, task=TeacherCrops(), optimizer=AdamW(), defaults={"local_crops": 2}
)
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.augment.recipes import contrastive_augmentation
from dlcore.data.normalization import normalizer
from dlcore.evaluators.fine_tuning import Encoder
from dlcore.experiment.experiment import Setup
from dlcore.experiment.setting import FlagError
from dlcore.kits.images import labeled_images
from dlcore.kits.self_supervised import encoders
from dlcore.kits.training import backbone
from dlcore.learner import Range
from dlcore.models.vit import ViT
from dlcore.modes.report_context import ReportContext
from dlcore.optim.ema import cosine_momentum
from dlcore.self_supervised.networks import DINONet, PatchDINONet
from dlcore.tasks.encoders import SMOKE
from dlcore.tasks.unlabeled_images import RandomViews

__all__ = ["SMALLEST_TOKENS", "SMALL_TOKENS", "MultiCrops", "TeacherCrops", "TokenCrops"]

SMALL_TOKENS = {
    "model.image_size": 16,
    "model.patch_size": 4,
    "model.width": 64,
    "model.depth": 3,
    "model.num_heads": 4,
    "model.mlp_features": 256,
    "head.outputs": 64,
    "head.hidden_features": 128,
    "head.bottleneck": 32,
    "head.batch_norm": True,
    "local_crops": 2,
    "steps": 1000,
    "batch_size": 64,
    "eval_every": 250,
}
"""Settings of a small ViT on the digits, whose sides are doubled to 16 pixels."""

SMALLEST_TOKENS = {
    **{name: value for name, value in SMOKE.items() if not name.startswith("model.")},
    "model.width": 8,
    "model.depth": 1,
    "model.num_heads": 2,
    "model.mlp_features": 8,
    "head.outputs": 8,
    "head.hidden_features": 8,
    "head.bottleneck": 4,
    "local_crops": 1,
}
"""Settings of the ViT and the head under --smoke."""


def _check_global_area(area: tuple[float, float]) -> None:
    _check_rising("global_area", area)


def _check_local_area(area: tuple[float, float]) -> None:
    _check_rising("local_area", area)


def _check_rising(name: str, area: tuple[float, float]) -> None:
    """Check that a range begins at its smaller end."""
    if area[0] > area[1]:
        raise ValueError(f"{name}={area[0]:g},{area[1]:g}: the first is larger; allowed: the smaller share first")


@dataclasses.dataclass(frozen=True)
class MultiCrops(RandomViews):
    """Large and small crops of each image.

    Args:
      local_size: side of small crops in pixels; by default half of the input's
      global_area: range of the share of the image that a large crop shows
      local_area: range of the share of the image that a small crop shows
      freeze: epochs in which the last layer is frozen
    """

    local_size: Annotated[int | None, Range(1)] = None
    global_area: Annotated[tuple[float, float], Range(1e-3, 1), _check_global_area] = (0.4, 1.0)
    local_area: Annotated[tuple[float, float], Range(1e-3, 1), _check_local_area] = (0.1, 0.4)
    freeze: Annotated[float, Range(0)] = 1.0

    modules: ClassVar[dict[str, Callable]] = {"head": DINONet}
    encoder = staticmethod(encoders.backbone_encoder)

    def crops(self, setup: Setup) -> tuple[Callable, Callable]:
        """Build the augmentations that draw large and small crops.

        Args:
          setup: facts of the run, with the flags of the task.

        Returns:
          Two of `(key, image [H, W, C] in [0, 1]) -> image`.

        Raises:
          FlagError: small crops are larger than the image, or no whole number of patches.
        """
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
        """Build the network, the crops, the preprocessing and the schedule of the last layer."""
        flags, spec = setup.flags, setup.spec
        large, small = self.crops(setup)
        frozen = round(flags.freeze * spec.get("train_size", 0) / flags.batch_size)
        return {
            "model": self.modules["head"](encoders.backbone_without_head(setup), **flags.group("head")),
            "augment": large,
            "augment_local": small,
            "last_layer": lambda step: jnp.where(step < frozen, 0.0, 1.0),
            "preprocess": labeled_images.preprocess(setup),
            "normalize": normalizer(spec["mean"], spec["std"], dtype=setup.dtype),
        }


@dataclasses.dataclass(frozen=True)
class TeacherCrops(MultiCrops):
    """Large and small crops of each image, of which a teacher sees the large ones.

    Args:
      teacher_momentum: initial momentum of the EMA teacher; it rises to 1
      teacher_temperature: temperature of the teacher, at first and after the warm-up
      temperature_warmup: share of the steps in which the teacher's temperature rises
    """

    teacher_momentum: Annotated[float, Range(0, 1)] = 0.996
    teacher_temperature: Annotated[tuple[float, float], Range(1e-3)] = (0.04, 0.07)
    temperature_warmup: Annotated[float, Range(0, 1)] = 0.3

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build what `MultiCrops` builds, and the schedules of the teacher."""
        flags = setup.flags
        first, last = flags.teacher_temperature
        warmup = max(1, round(flags.temperature_warmup * setup.steps))
        return {
            **super().arguments(setup),
            "teacher_momentum": cosine_momentum(flags.teacher_momentum, setup.steps),
            "teacher_temperature": lambda step: first + (last - first) * jnp.minimum(step / warmup, 1.0),
        }

    def encoder(self, setup: Setup) -> Encoder:
        """Describe the teacher's backbone."""

        def teacher(state: Any) -> dict:
            trees = {"params": state.teacher_params, **state.teacher_model_state}
            return {name: leaves["backbone"] for name, leaves in trees.items() if "backbone" in leaves}

        return encoders.backbone_encoder(setup, teacher)

    def pretext_panels(self, context: ReportContext) -> list:
        """Show where the teacher's ViT attends."""
        from dlcore.data.augment import to_float
        from dlcore.report.self_supervised import attention_maps

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


@dataclasses.dataclass(frozen=True)
class TokenCrops(TeacherCrops):
    """Large and small crops of each image for a ViT, from which patches of the large ones are hidden."""

    model: ClassVar[str | None] = "vit_tiny_cifar"
    modules: ClassVar[dict[str, Callable]] = {"head": PatchDINONet}

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build what `TeacherCrops` builds; the backbone must have patches."""
        if not isinstance(encoders.backbone_without_head(setup), ViT):
            raise FlagError(
                f"--model={setup.flags.model}: has no tokens of patches; allowed: vision transformers (vit_*)"
            )
        return super().arguments(setup)
