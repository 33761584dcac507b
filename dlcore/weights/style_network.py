"""The network that renders photographs in a style, and the frozen network of its objective."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from dlcore.data.sample_images import SAMPLE_IMAGES, sample_image
from dlcore.data.style_patterns import STYLE_PATTERNS, style_pattern
from dlcore.experiment.parts import Run
from dlcore.interpretability.fast_style import StyleNet
from dlcore.learner import Range
from dlcore.models.network import NetworkFields
from dlcore.weights.frozen_network import FrozenNetwork

__all__ = ["StyleNetwork"]


@dataclasses.dataclass(frozen=True)
class StyleNetwork(NetworkFields):
    """A network that renders photographs in several styles, and the frozen network that compares them.

    Args:
      stylenet: `StyleNet`, or a `functools.partial`; its flags are `--stylenet.FIELD`.
      frozen: the frozen network.
      styles: names of patterns (mosaic, waves, strokes), of photographs (china, flower), or image files
      style_size: height of the style images, pixels
    """

    stylenet: Callable[..., StyleNet]
    frozen: FrozenNetwork
    styles: Annotated[tuple[str, ...], "essential"] = ("mosaic", "waves", "strokes", "flower")
    style_size: Annotated[int, Range(1)] = 96

    @property
    def settings(self) -> dict[str, Any]:
        """The flag of the frozen network."""
        return self.frozen.settings

    def with_flags(self, flags: Any) -> "StyleNetwork":
        """Return the network with the values of its flags in its fields."""
        frozen = dataclasses.replace(self.frozen, network=flags.network)
        return StyleNetwork(partial(self.stylenet, **flags.group("stylenet")), frozen, flags.styles, flags.style_size)

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique both networks, and the images of the styles."""
        frozen, styles = self.frozen.arguments(run), self.images()
        model = self.stylenet(len(styles), dtype=run.dtype)
        return {**frozen, "network": frozen["model"], "model": model, "styles": styles}

    def images(self) -> list[np.ndarray]:
        """Draw or read the images [h, w, 3] uint8 of the styles."""
        for style in self.styles:
            if style not in (*STYLE_PATTERNS, *SAMPLE_IMAGES) and not Path(style).is_file():
                style_names = ", ".join((*STYLE_PATTERNS, *SAMPLE_IMAGES))
                raise ValueError(
                    f"styles={style!r}: neither a file nor a known style; allowed: {style_names}, or an image file"
                )
        side = self.style_size
        return [style_pattern(s, side) if s in STYLE_PATTERNS else sample_image(s, side) for s in self.styles]
