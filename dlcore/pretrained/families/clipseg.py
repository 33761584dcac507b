"""CLIPSeg of transformers: masks of what texts or other images describe, and its CLIP alone."""

from collections.abc import Mapping
from typing import Any

from dlcore.models import create_model
from dlcore.pretrained.families.clip import INPUTS, pairs
from dlcore.pretrained.family import Family, read_as
from dlcore.segmentation.clipseg import CLIPSegDecoder

__all__ = ["FAMILIES"]


def _clipseg(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    config = {"projection_dim": 512, **config}
    name, fields = read_as("CLIPModel")(config)
    vision = config["vision_config"]
    return "clipseg_rd64", {
        "clip": create_model(name, **fields),
        "decoder": CLIPSegDecoder(
            patch_size=vision["patch_size"],
            layers=tuple(config.get("extract_layers", (3, 6, 9))),
            features=config.get("reduce_dim", 64),
            num_heads=config.get("decoder_num_attention_heads", 4),
            hidden=config.get("decoder_intermediate_size", 2048),
            film_layer=config.get("conditional_layer", 0),
            refined=config.get("use_complex_transposed_convolution", False),
            epsilon=vision["layer_norm_eps"],
        ),
    }


def _segment(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    prompt = inputs.get("conditional_embeddings")
    if prompt is None:
        if ("input_ids" in inputs) == ("conditional_pixel_values" in inputs):
            raise ValueError("input_ids: no prompt, or two; allowed: input_ids or conditional_pixel_values")
        prompts = {"texts": inputs.get("input_ids"), "images": inputs.get("conditional_pixel_values")}
        prompt = model.apply(variables, **prompts, method="describe")
    return {
        "logits": model.apply(variables, inputs["pixel_values"], prompt=prompt),
        "conditional_embeddings": prompt,
        "pooled_output": model.apply(variables, images=inputs["pixel_values"], method="describe"),
    }


PROMPTS = (*INPUTS, "conditional_pixel_values", "conditional_embeddings")


FAMILIES = (
    Family("transformers", ("CLIPSegModel",), read_as("CLIPModel"), pairs, INPUTS, "pairs"),
    Family("transformers", ("CLIPSegForImageSegmentation",), _clipseg, _segment, PROMPTS, "segmentation"),
)
