"""Parts of ControlNet: captioned shapes with their edges, and a network that a run trained without the edges."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax
import numpy as np

from dlcore.data.shape_grid import foreground
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.parts import Run
from dlcore.experiment.setting import FlagError, Setting
from dlcore.generative.conditional_unet import UNetEncoder
from dlcore.generative.control_net import (
    ControlledUNet,
    ControlNet,
    control_condition,
    copy_encoder,
    edge_map,
    shape_iou,
)
from dlcore.learner import Evaluator, Range
from dlcore.tasks.text_prompts import (
    BASE,
    CaptionedShapes,
    DrawPrompts,
    ObjectCorrectness,
    TextConditionalUNet,
    check_base,
    load_base,
)
from dlcore.weights.start import Start

__all__ = ["ControlledBase", "DrawPromptsOnEdges", "LockedBase", "ShapeIoU", "ShapesWithEdges"]

FACTS = ("image_shape", "vocabulary", "length")
"""Facts of the data that both phases share."""


@dataclasses.dataclass(frozen=True)
class ShapesWithEdges:
    """Captioned shapes with their edges as `hint`.

    Args:
      shapes: the captioned shapes.
    """

    shapes: CaptionedShapes

    reads_files: ClassVar[bool] = False

    def load(self) -> Splits:
        """Draw captioned shapes and their edges."""
        splits = self.shapes.load()
        parts = {name: _hinted(getattr(splits, name)) for name in ("train", "valid", "test", "shown")}
        return splits._replace(**parts)

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the `shape` of the images."""
        return self.shapes.arguments(run)

    def prompts(self, split: str, length: int) -> Source:
        """Draw the images of a split with their edges and one caption each.

        Args:
          split: "train", "valid" or "test".
          length: tokens of a caption, with padding.

        Returns:
          A source with `image` and `tokens`.
        """
        return _hinted(self.shapes.prompts(split, length))


def _hinted(source: Source) -> Source:
    hint = edge_map(source.arrays["image"])
    return Source({**source.arrays, "hint": hint}, len(source), name=source.name)


@dataclasses.dataclass(frozen=True)
class ControlledBase:
    """A text-to-image network, which is locked, and a ControlNet of the same form, which learns.

    Args:
      base: the text-to-image network.
    """

    base: TextConditionalUNet

    @property
    def modules(self) -> dict[str, Any]:
        """The networks of the base by the prefixes of their flags."""
        return self.base.modules

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique both networks as `model`, the condition, and what is locked."""
        unet = self.base.unet()
        names = (field.name for field in dataclasses.fields(UNetEncoder))
        fields = {name: getattr(unet, name) for name in names if name not in ("parent", "name", "dtype")}
        halvings = max(0, int(np.log2(fields["patch_size"])))
        control = ControlNet(**fields, hint_channels=(16,) * (halvings + 1), dtype=run.dtype)
        model = ControlledUNet(self.base.build(run), control)
        return {"model": model, "condition": control_condition(), "locked": ("base",)}


@dataclasses.dataclass(frozen=True)
class ShapeIoU:
    """At the end of a run, the overlap of the shapes of samples with those whose edges were given.

    Args:
      prompts: the measure of what the prompts say, which follows.
    """

    prompts: ObjectCorrectness

    metric: ClassVar[str] = "loss"
    mode: ClassVar[str] = "min"
    headline: ClassVar[str] = "shape_iou"

    def finish_data(self, splits: Splits, run: Run) -> Splits:
        """Say what is measured."""
        return self.prompts.finish_data(splits, run)

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure at the end of a run whether shapes are where the edges are, and what the prompts say."""
        measures = self.prompts.evaluators(run, splits, split)
        return [*(shape_iou(foreground, measure.source) for measure in measures[:1]), *measures]


@dataclasses.dataclass(frozen=True)
class DrawPromptsOnEdges(DrawPrompts):
    """Use of a ControlNet: samples of the prompts and of the edges of the image that `--input` names."""

    input_kind: ClassVar[str] = '"FILE: PROMPT / PROMPT"'

    def inputs(self, path: str, run: Run) -> tuple[Source, list[str]]:
        """Read an image, whose edges are followed, and prompts: --input="drawing.png: a red circle / a green cross"."""
        from dlcore.data.decoding import load_image

        file, _, texts = path.rpartition(":")
        if not file or not Path(file).is_file():
            raise FlagError(f"--input={path}: no such image; allowed: FILE: a red circle / a green cross")
        height, width, channels = run.facts.image_shape
        source, names = super().inputs(texts, run)
        hint = edge_map(load_image(Path(file), (height, width), channels)[None])
        return Source({**source.arrays, "hint": np.repeat(hint, len(names), 0)}, len(names)), names


@dataclasses.dataclass(frozen=True)
class LockedBase:
    """The first phase's weights: the base is locked, the ControlNet begins as a copy of its encoder.

    Args:
      page: page that trains the base where `--base` names no run.
      base_steps: training steps of the default base; by default those of its page
    """

    page: Experiment
    base_steps: Annotated[int, Range(1)] | None = None

    settings: ClassVar[dict[str, Setting]] = BASE

    def start(self, run: Run) -> Start:
        """Start with the weights of the base."""

        def replace(state: Any) -> Any:
            is_default = run.setup.flags.smoke or self.base_steps is None
            phase = load_base(run, self.page, [] if is_default else [f"--steps={self.base_steps}"], *FACTS)
            base = jax.tree.map(jax.numpy.asarray, phase.params)
            params = {"control": copy_encoder(state.params["control"], base["unet"])}
            opt_state = jax.jit(run.setup.transformation().init)(params)
            return state.replace(params=params, locked={"base": base}, opt_state=opt_state)

        return Start(replace, lambda state: check_base(run, *FACTS))
