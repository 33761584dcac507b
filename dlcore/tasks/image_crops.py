"""Large and small crops of images, and a network that assigns them to prototypes, with a teacher or without.

data=CroppedImages("digits", augmentation=Crops(Views("auto"), global_area=(0.7, 1.0), local_area=(0.4, 0.8)))
network=PrototypeNetwork(Zoo("resnet8_cifar"), head={"outputs": 256}, freeze=100.0, teacher=DINOTeacher(0.99))
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.data.augment.recipes import contrastive_augmentation
from dlcore.data.facts import Facts
from dlcore.data.images import Images, Views
from dlcore.evaluators.fine_tuning import Encoder
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run, with_flags
from dlcore.experiment.setting import FlagError
from dlcore.kits.self_supervised import encoders
from dlcore.kits.self_supervised.queue import check_queue
from dlcore.learner import Range, check_record
from dlcore.models.network import Zoo
from dlcore.models.vit import ViT
from dlcore.modes.report_context import ReportContext
from dlcore.optim.ema import cosine_momentum
from dlcore.self_supervised.networks import DINONet, PatchDINONet
from dlcore.tasks.encoders import SMOKE, view_panels

__all__ = ["SMALLEST_TOKENS", "CroppedImages", "Crops", "DINOTeacher", "PrototypeNetwork"]

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
class Crops:
    """Large and small crops of each image, augmented as views are.

    Args:
      views: the augmentation beside the crop.
      local_size: side of small crops in pixels; by default half of the input's
      global_area: range of the share of the image that a large crop shows
      local_area: range of the share of the image that a small crop shows
    """

    views: Views = dataclasses.field(default_factory=Views)
    local_size: Annotated[int | None, Range(1)] = None
    global_area: Annotated[tuple[float, float], Range(1e-3, 1), _check_global_area] = (0.4, 1.0)
    local_area: Annotated[tuple[float, float], Range(1e-3, 1), _check_local_area] = (0.1, 0.4)

    def __post_init__(self):
        check_record(self)

    def names(self, facts: Facts) -> list[str]:
        """Name the kind of views."""
        return self.views.names(facts)

    def crops_streamed(self, facts: Facts) -> bool:
        """Return that crops are cut out on the device."""
        return False

    def build(self, facts: Facts, side: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
        """Build the large crop.

        Args:
          side: its side, in pixels.

        Returns:
          `(key, image [H, W, C] in [0, 1]) -> image`.
        """
        return contrastive_augmentation(*self.names(facts), self.global_area, side)

    def build_small(self, facts: Facts, side: int, stride: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
        """Build the small crop.

        Args:
          side: side of the large crop, in pixels.
          stride: side of a patch of the network, of which crops have a whole number.

        Returns:
          `(key, image [H, W, C] in [0, 1]) -> image`.
        """
        small = self.local_size or side // 2
        if small % stride or not 0 < small <= side:
            raise FlagError(
                f"--local_size={small}: no small crop; allowed: multiples of the patch's side {stride}, at most {side}"
            )
        return contrastive_augmentation(*self.names(facts), self.local_area, small)


@dataclasses.dataclass(frozen=True)
class CroppedImages(Images):
    """Images by name, whose `augmentation` are `Crops`."""

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique what `Images` gives, with large crops as `augment` and small ones as `augment_local`."""
        values, stride = super().arguments(run), getattr(run.parts.network.backbone.build(1), "patch_size", 1)
        values["augment_local"] = self.augmentation.build_small(run.facts, self.shorter_side(run.facts), stride)
        return values


@dataclasses.dataclass(frozen=True)
class DINOTeacher:
    """The schedules of an EMA teacher: its momentum rises to 1 by half a cosine, and its temperature linearly.

    Args:
      teacher_momentum: initial momentum of the EMA teacher; it rises to 1
      teacher_temperature: temperature of the teacher, at first and after the warm-up
      temperature_warmup: share of the steps in which the teacher's temperature rises
    """

    teacher_momentum: Annotated[float, Range(0, 1)] = 0.996
    teacher_temperature: Annotated[tuple[float, float], Range(1e-3)] = (0.04, 0.07)
    temperature_warmup: Annotated[float, Range(0, 1)] = 0.3

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique its `teacher_momentum` and its `teacher_temperature`."""
        first, last = self.teacher_temperature
        warmup = max(1, round(self.temperature_warmup * run.steps))
        return {
            "teacher_momentum": cosine_momentum(self.teacher_momentum, run.steps),
            "teacher_temperature": lambda step: first + (last - first) * jnp.minimum(step / warmup, 1.0),
        }

    def backbone(self, state: Any) -> dict:
        """Find the variables of the teacher's backbone.

        Args:
          state: the learner's state.

        Returns:
          {collection: variables}.
        """
        trees = {"params": state.teacher_params, **state.teacher_model_state}
        return {name: leaves["backbone"] for name, leaves in trees.items() if "backbone" in leaves}


@dataclasses.dataclass(frozen=True)
class PrototypeNetwork:
    """A backbone of the zoo and a head of prototypes; flags are `--model`, its fields and `--head.FIELD`.

    Args:
      backbone: the backbone.
      head: fields of the head, of `DINONet` or `PatchDINONet`.
      patches: whether the head sees the patches of a ViT beside its class token.
      balanced: whether targets are balanced over the images of a step, so that prototypes must not be more.
      freeze: epochs in which the last layer is frozen
      teacher: the EMA teacher of a technique that has one, which is measured
    """

    backbone: Zoo
    head: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    patches: Annotated[bool, "no flag"] = False
    balanced: Annotated[bool, "no flag"] = False
    freeze: Annotated[float, Range(0)] = 1.0
    teacher: DINOTeacher | None = None

    def __post_init__(self):
        check_record(self)

    @property
    def modules(self) -> dict[str, Callable]:
        """The module by the prefix of its flags."""
        return {"head": partial(PatchDINONet if self.patches else DINONet, **self.head)}

    def with_flags(self, flags: Flags) -> "PrototypeNetwork":
        """Return the network with the values of its flags in its fields."""
        return dataclasses.replace(
            self,
            backbone=self.backbone.with_flags(flags),
            head=flags.group("head"),
            freeze=flags.freeze,
            teacher=with_flags(self.teacher, flags),
        )

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the network as `model`, and the schedules of the last layer and of the teacher."""
        backbone = self._backbone(run)
        if self.patches and not isinstance(backbone, ViT):
            raise FlagError(
                f"--model={self.backbone.zoo_name}: has no tokens of patches; allowed: vision transformers (vit_*)"
            )
        frozen = round(self.freeze * (run.facts.train_size or 0) / run.setup.flags.batch_size)
        return {
            "model": self.modules["head"](backbone),
            "last_layer": lambda step: jnp.where(step < frozen, 0.0, 1.0),
            **({} if self.teacher is None else self.teacher.arguments(run)),
        }

    def check(self, run: Run) -> None:
        """Check a queue against the batch and the memory, and balanced prototypes against the images of a step."""
        flags, outputs = run.setup.flags, self.head["outputs"]
        if flags.get("queue_size"):
            check_queue(flags, 2 * self.head["bottleneck"])
        if not self.balanced:
            return
        if "queue_size" in flags:
            count = flags.batch_size + flags.queue_size
            images = f"{count} images of a batch and a queue"
        else:
            count = 2 * flags.batch_size
            images = f"{count} large crops of a batch"
        if outputs > count:
            raise FlagError(f"--head.outputs={outputs}: more prototypes than the {images}; allowed: at most {count}")

    def encoder(self, run: Run) -> Encoder:
        """Describe the backbone, which is measured: the teacher's, where there is one."""
        return encoders.backbone_encoder(run.setup, None if self.teacher is None else self.teacher.backbone)

    def pretext_panels(self, context: ReportContext, run: Run) -> list:
        """Show views of images, or where the teacher's ViT attends."""
        from dlcore.data.augment import to_float
        from dlcore.report.self_supervised import attention_maps

        if self.teacher is None:
            return view_panels(context, run.parts.data.augmentation.views.build(run.facts))
        model, images = self._backbone(run), to_float(context.data.test.arrays["image"][:8])
        if not isinstance(model, ViT):
            return []
        variables = {"params": context.state.teacher_params["backbone"]}
        x = run.parts.data.preprocess(run.facts)(images)
        _, inside = jax.jit(lambda v, x: model.apply(v, x, mutable=["intermediates"]))(variables, x)
        weights = inside["intermediates"][f"blocks_{model.depth - 1}"]["attn"]["weights"][0][:, :, 0, 1:]
        rows = x.shape[1] // model.patch_size
        pixels = np.asarray(jax.image.resize(images, (*x.shape[:3], images.shape[-1]), "nearest"))
        return [attention_maps(pixels, np.asarray(weights).reshape(*weights.shape[:2], rows, -1))]

    def _backbone(self, run: Run) -> nn.Module:
        return encoders.backbone_without_head(run.setup)
