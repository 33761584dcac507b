"""Captioned shapes with their edges, and the network that both condition."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dlcore.data.captioned_shapes import CaptionedShapes
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.generative.conditional_unet import UNetEncoder
from dlcore.generative.control_net import ControlledUNet, ControlNet, control_condition, edge_map
from dlcore.generative.text_networks import TextConditionalUNet
from dlcore.report.drawn_prompts import DrawPrompts
from dlcore.setting import FlagError

__all__ = ["ControlledBase", "DrawPromptsOnEdges", "ShapesWithEdges"]


@dataclasses.dataclass(frozen=True)
class ShapesWithEdges:
    """Captioned shapes with their edges as `hint`.

    Args:
      shapes: the captioned shapes.
    """

    shapes: CaptionedShapes

    def load(self) -> Splits:
        """Draw captioned shapes and their edges."""
        splits = self.shapes.load()
        parts = {name: _hinted(getattr(splits, name)) for name in ("train", "valid", "test", "shown")}
        return splits._replace(**parts)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the `shape` of the images."""
        return self.shapes.arguments(run)


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

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique both networks as `model`, the condition, and what is locked."""
        unet = self.base.unet()
        names = (field.name for field in dataclasses.fields(UNetEncoder))
        fields = {name: getattr(unet, name) for name in names if name not in ("parent", "name", "dtype")}
        halvings = max(0, int(np.log2(fields["patch_size"])))
        control = ControlNet(**fields, hint_channels=(16,) * (halvings + 1), dtype=run.dtype)
        model = ControlledUNet(self.base.build(run), control)
        return {"model": model, "condition": control_condition(), "locked": ("base",)}


@dataclasses.dataclass(frozen=True)
class DrawPromptsOnEdges(DrawPrompts):
    """Use of a ControlNet: samples of the prompts and of the edges of the image that `--input` names."""

    input_kind: ClassVar[str] = '"FILE: PROMPT / PROMPT"'

    def inputs(self, path: str, run: Any) -> tuple[Source, list[str]]:
        """Read an image, whose edges are followed, and prompts: --input="drawing.png: a red circle / a green cross"."""
        from dlcore.data.decoding import load_image

        file, _, texts = path.rpartition(":")
        if not file or not Path(file).is_file():
            raise FlagError(f"--input={path}: no such image; allowed: FILE: a red circle / a green cross")
        height, width, channels = run.facts.image_shape
        source, names = super().inputs(texts, run)
        hint = edge_map(load_image(Path(file), (height, width), channels)[None])
        return Source({**source.arrays, "hint": np.repeat(hint, len(names), 0)}, len(names)), names

    def samples(self, run: Any) -> tuple[Source, list[str]]:
        """Choose prompts of the test split, with the edges of their images."""
        source, names = super().samples(run)
        return _hinted(source), names
