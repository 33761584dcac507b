"""VidEoMT of transformers: masks and classes of queries in the frames of a video."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from dlcore.pretrained.family import Family, read_as

__all__ = ["FAMILIES"]


def _videomt(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "videomt_large_640", read_as("EomtForUniversalSegmentation")(config)[1]


def _masks(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Run the network; as in transformers all examples' first frames come first, then their second ones."""
    outputs = model.apply(variables, inputs["pixel_values_videos"])
    classes, masks = (jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:]) for x in outputs)
    return {"class_queries_logits": classes, "masks_queries_logits": masks}


FAMILIES = (
    Family(
        "transformers",
        ("VideomtForUniversalSegmentation",),
        _videomt,
        _masks,
        ("pixel_values_videos",),
        "segmentation",
    ),
)
