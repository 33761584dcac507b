"""A network that assigns crops to prototypes, with a teacher or without."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range, check_record
from dlcore.models.encoder import Encoder
from dlcore.models.network import Zoo
from dlcore.models.vit import ViT
from dlcore.report.context import ReportContext
from dlcore.self_supervised import encoders
from dlcore.self_supervised.networks import DINONet, PatchDINONet
from dlcore.self_supervised.queue import check_queue
from dlcore.self_supervised.shown_views import view_panels
from dlcore.self_supervised.teachers import DINOTeacher
from dlcore.setting import FlagError

__all__ = ["PrototypeNetwork"]


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

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`, and the schedules of the last layer and of the teacher."""
        backbone = self._backbone(run)
        if self.patches and not isinstance(backbone, ViT):
            raise FlagError(
                f"--model={self.backbone.zoo_name}: has no tokens of patches; allowed: vision transformers (vit_*)"
            )
        frozen = round(self.freeze * (run.facts.train_size or 0) / run.flags.batch_size)
        return {
            "model": self.modules["head"](backbone),
            "last_layer": lambda step: jnp.where(step < frozen, 0.0, 1.0),
            **({} if self.teacher is None else self.teacher.arguments(run)),
        }

    def check(self, run: Any) -> None:
        """Check a queue against the batch and the memory, and balanced prototypes against the images of a step."""
        flags, outputs = run.flags, self.head["outputs"]
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

    def encoder(self, run: Any) -> Encoder:
        """Describe the backbone, which is measured: the teacher's, where there is one."""
        return encoders.backbone_encoder(run, None if self.teacher is None else self.teacher.backbone)

    def pretext_panels(self, context: ReportContext, run: Any) -> list:
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

    def _backbone(self, run: Any) -> nn.Module:
        return encoders.backbone_without_head(run)
