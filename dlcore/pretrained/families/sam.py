"""SAM and SAM-HQ of transformers: prompts in pixels of the photograph, and masks of its size."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.models.vitdet import ViTDet
from dlcore.ops.resize import resize
from dlcore.pretrained.family import Family, check_config
from dlcore.segmentation.prompts import check_boxes, check_points
from dlcore.segmentation.sam_hq import SAMHQ

__all__ = ["FAMILIES", "INPUTS", "around"]

ENCODER = {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "qkv_bias": True, "use_abs_pos": True}


PROMPTS = {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "num_point_embeddings": 4}


DECODER = {"hidden_act": "relu", "layer_norm_eps": 1e-6, "attention_downsample_rate": 2}


def _sam(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    encoder, prompts, decoder = (
        config.get(f"{part}_config") or {} for part in ("vision", "prompt_encoder", "mask_decoder")
    )
    for part, allowed in ((encoder, ENCODER), (prompts, PROMPTS), (decoder, DECODER)):
        check_config(part, allowed, "dlcore's SAM")
    size, width = encoder.get("image_size", 1024), encoder.get("hidden_size", 768)
    return "sam_vit_b", {
        "encoder": ViTDet(
            num_classes=0,
            image_size=size,
            pretrain_size=size,
            patch_size=encoder.get("patch_size", 16),
            depth=encoder.get("num_hidden_layers", 12),
            width=width,
            num_heads=encoder.get("num_attention_heads", 12),
            mlp_features=encoder.get("mlp_dim") or int(width * encoder.get("mlp_ratio", 4.0)),
            window_size=encoder.get("window_size", 14),
            global_blocks=tuple(encoder.get("global_attn_indexes", (2, 5, 8, 11))),
            relative_positions=encoder.get("use_rel_pos", True),
            drop_path=0.0,
        ),
        "features": prompts.get("hidden_size", 256),
        "num_masks": decoder.get("num_multimask_outputs", 3),
        "decoder_depth": decoder.get("num_hidden_layers", 2),
        "num_heads": decoder.get("num_attention_heads", 8),
        "hidden": decoder.get("mlp_dim", 2048),
        "iou_hidden": decoder.get("iou_head_hidden_dim", 256),
        "iou_depth": decoder.get("iou_head_depth", 3),
        "mask_channels": prompts.get("mask_input_channels", 16),
    }


def _sam_hq(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    fields = _sam(config)[1]
    decoder, vision = config.get("mask_decoder_config") or {}, config.get("vision_config") or {}
    check_config({"vit_dim": 768, **decoder}, {"vit_dim": vision.get("hidden_size", 768)}, "dlcore's SAM-HQ")
    if not fields["encoder"].global_blocks:
        raise ValueError("global_attn_indexes=[]: nothing makes details; allowed: at least one block of vision_config")
    return "sam_hq_vit_b", fields


def _masks(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    prompts = [inputs.get(f"input_{kind}") for kind in ("points", "labels", "boxes", "masks")]
    logits, iou = model.apply(variables, inputs["pixel_values"], *prompts)
    logits, iou = logits[:, :, 1:], iou[:, :, 1:]
    if isinstance(model, SAMHQ):  # the best mask first
        order = jnp.argsort(-iou, axis=2)
        logits, iou = jnp.take_along_axis(logits, order[..., None, None], 2), jnp.take_along_axis(iou, order, 2)
    return {"pred_masks": logits, "iou_scores": iou}


def _prompt(inputs: dict[str, Any], name: str, rank: int, last: tuple[int, ...], images: int) -> np.ndarray | None:
    """Return a prompt with axes for images and objects, which it may leave out."""
    if inputs.get(name) is None:
        return None
    value, form = np.asarray(inputs[name]), "[B, P, N, 2]" if rank == 4 else "[B, P, N]" if not last else "[B, P, 4]"
    if value.ndim == rank - 2 and images == 1:
        value = value[None]
    if value.ndim == rank - 1:
        value = value[:, None]
    if value.ndim != rank or len(value) != images or value.shape[rank - len(last) :] != last:
        raise ValueError(
            f"{name}: shape {np.shape(inputs[name])} for {images} images; allowed: {form}, of P objects (1 where the "
            "axis is left out)"
        )
    return value


def around(run: Callable, inputs: dict[str, jax.Array], preprocess: Any) -> dict[str, Any]:
    """Turn prompts in pixels of photographs into those of the network's image, and its masks into the photographs'.

    Args:
      run: compiled outputs of inputs by name.
      inputs: images and prompts, see `Family`.
      preprocess: the processor of photographs.

    Returns:
      The outputs by name.
    """
    if (images := inputs.get("pixel_values")) is None:
        raise ValueError("images: missing; allowed: photographs, or pixel_values")
    count, side = len(images), images.shape[1:3]
    has_photographs = "original_sizes" in inputs
    original = np.asarray(inputs.get("original_sizes", np.tile(side, (count, 1))))  # [B, 2], height and width
    resized = np.array([preprocess.resized(*size) for size in original]) if has_photographs else original
    limits, scale = original[:, ::-1].astype(float), (resized / original)[:, ::-1]
    points = _prompt(inputs, "input_points", 4, (2,), count)
    labels = _prompt(inputs, "input_labels", 3, (), count)
    boxes = _prompt(inputs, "input_boxes", 3, (4,), count)
    arrays: dict[str, Any] = {"pixel_values": images}
    if labels is not None and points is None:
        raise ValueError("input_labels: no use without points; allowed: with input_points")
    if points is not None:
        check_points(points, labels, limits, "input_")
        arrays["input_points"] = jnp.asarray(points * scale[:, None, None], jnp.float32)
        arrays |= {} if labels is None else {"input_labels": jnp.asarray(labels)}
    if boxes is not None:
        check_boxes(boxes, limits, "input_")
        arrays["input_boxes"] = jnp.asarray(boxes * np.tile(scale, 2)[:, None], jnp.float32)
    if (masks := inputs.get("input_masks")) is not None:
        arrays["input_masks"] = (
            masks if masks.ndim == 4 and masks.shape[-1] == 1 else masks.reshape(count, *masks.shape[-2:], 1)
        )
    outputs = run(arrays)
    if has_photographs:
        outputs = outputs | {"masks_at_original_size": _at_photograph(outputs["pred_masks"], side, resized, original)}
    return outputs


def _at_photograph(masks: jax.Array, side: tuple[int, ...], resized: np.ndarray, original: np.ndarray) -> Any:
    """Enlarge masks to the network's image, cut off its padding, and resize them to each photograph."""
    batch, objects, count = masks.shape[:3]
    maps = jnp.moveaxis(masks.reshape(batch, objects * count, *masks.shape[3:]), 1, -1)  # [B, h, w, P M]
    maps = resize(maps, (side[0], side[1]))
    results = []
    for image, (height, width), size in zip(maps, resized.tolist(), original.tolist(), strict=True):
        result = resize(image[None, :height, :width], tuple(size))[0]  # [H, W, P M]
        results.append(jnp.moveaxis(result, -1, 0).reshape(objects, count, *size))
    return jnp.stack(results) if len({result.shape for result in results}) == 1 else results


INPUTS = ("pixel_values", "input_points|points", "input_labels|labels", "input_boxes", "input_masks", "original_sizes")


FAMILIES = (
    Family("transformers", ("SamModel",), _sam, _masks, INPUTS, "segmentation", call=around),
    Family("transformers", ("SamHQModel",), _sam_hq, _masks, INPUTS, "segmentation", call=around),
)
