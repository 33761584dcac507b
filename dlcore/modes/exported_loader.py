"""Load and run an exported function. Needs jax, flatbuffers, numpy and safetensors; for images also Pillow.

python load.py                                  runs the function on zeros
>>> from load import predict
>>> predict("image.jpg")["class"]               an image file, decoded and resized as in the evaluation of the run
>>> predict(image)["class"]                     image: uint8 [H, W, C] of any size, or a batch

`--mode=export` writes this file as load.py; manifest.json describes each input and output.
"""

import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dlcore.data.image_pixels import center_box, decode_box_by_pillow, decode_image, resize_box, scale_to_cover

__all__ = ["load", "predict", "preprocess", "read"]

HERE = Path(__file__).parent


@functools.cache
def load(folder: str | Path = HERE) -> tuple[dict, dict[str, np.ndarray], Callable[[dict, dict], Any]]:
    """Load an exported function.

    Args:
      folder: folder with model.jaxexp, weights.safetensors and manifest.json.

    Returns:
      (manifest, weights, function of (weights, inputs)).
    """
    from safetensors.numpy import load_file

    folder = Path(folder)
    manifest, content = json.loads((folder / "manifest.json").read_text()), (folder / "model.jaxexp").read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
        path = folder / "model.jaxexp"
        raise ValueError(f"{path}: changed or truncated; allowed: the program with the manifest's checksum")
    return manifest, load_file(folder / "weights.safetensors"), jax.jit(jax.export.deserialize(bytearray(content)).call)


def preprocess(images: np.ndarray, rule: dict[str, Any]) -> np.ndarray:
    """Preprocess images for the exported function.

    Args:
      images: [N, H, W, C], uint8 in [0, 255] or floating in [0, 1], of any size.
      rule: `input` of the manifest.

    Returns:
      [N, h, w, C] float32 in [0, 1]: each image is scaled to cover (h, w) / crop_pct (bilinear, antialiased, in 8
      bits: floats are rounded to k / 255 first) and center-cropped to (h, w). Images of size (h, w) at a crop_pct of 1
      or None are not resized.
    """
    height, width, channels = rule["shape"][1:]
    if images.ndim != 4 or images.shape[-1] != channels:
        raise ValueError(f"image: shape {images.shape}; allowed: [H, W, {channels}] or [N, H, W, {channels}]")
    if images.dtype != np.uint8:
        if not np.issubdtype(images.dtype, np.floating):
            raise ValueError(f"image: dtype {images.dtype}; allowed: uint8 in [0, 255], floats in [0, 1]")
        if not (images.min() >= 0 and images.max() <= 1):
            limits = f"{images.min():g} to {images.max():g}"
            raise ValueError(f"image: floats from {limits}; allowed: floats in [0, 1], uint8 in [0, 255]")
        images = images.astype(np.float32)
    if images.shape[1:3] == (height, width) and rule["crop_pct"] in (None, 1):
        return images.astype(np.float32) / 255 if images.dtype == np.uint8 else images
    levels = images if images.dtype == np.uint8 else np.rint(images * 255).astype(np.uint8)
    resized = [_resized(image, (height, width), rule["crop_pct"]) for image in levels]
    return np.stack(resized).reshape(-1, height, width, channels).astype(np.float32) / 255


def _resized(image: np.ndarray, size: tuple[int, int], crop_pct: float | None) -> np.ndarray:
    """Resize and crop [H, W, C] uint8 to [h, w, C] or, if gray, [h, w]."""
    from PIL import Image

    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    if crop_pct is None:
        return np.asarray(scale_to_cover(picture, size))
    return np.asarray(resize_box(picture, center_box(image.shape[0], image.shape[1], size, crop_pct), size))


def read(path: str | Path, rule: dict[str, Any]) -> np.ndarray:
    """Read an image file and preprocess it as the run's evaluation does.

    Args:
      path: path of the file.
      rule: `input` of the manifest.

    Returns:
      [1, h, w, C] float32 in [0, 1].
    """
    height, width, channels = rule["shape"][1:]
    size, crop_pct = (height, width), rule["crop_pct"]
    try:
        if crop_pct is None:
            pixels = decode_image(Path(path), size, channels)
        else:
            center = functools.partial(center_box, size=size, crop_pct=crop_pct)
            pixels = decode_box_by_pillow(Path(path).read_bytes(), center, size, channels)
    except Exception as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error
    return pixels.reshape(1, height, width, channels).astype(np.float32) / 255


def predict(image: str | Path | np.ndarray, folder: str | Path = HERE) -> dict[str, Any] | list[dict[str, Any]]:
    """Classify an image, or each image of a batch.

    Args:
      image: path of an image file, which is decoded and resized as in the run's evaluation; or [H, W, C] or
        [N, H, W, C], uint8 in [0, 255] or floating in [0, 1], of any size.
      folder: folder of the exported function.

    Returns:
      {"class": name, "probabilities": {name: probability}, the most probable first}; a list of these for a batch.
    """
    manifest, weights, run = load(folder)
    if "input" not in manifest:
        raise ValueError(f"{folder}: does not classify images; allowed: run(weights, inputs) of load()")
    if isinstance(image, str | Path):
        is_single, images = True, read(image, manifest["input"])
    else:
        image = np.asarray(image)
        is_single = image.ndim == 3
        images = preprocess(image[None] if is_single else image, manifest["input"])
    rows = []
    for probabilities in np.asarray(run(weights, {manifest["input"]["name"]: images})["probabilities"]):
        order = np.argsort(-probabilities, kind="stable")
        ranked = {manifest["spec"]["class_names"][i]: float(probabilities[i]) for i in order}
        rows.append({"class": next(iter(ranked)), "probabilities": ranked})
    return rows[0] if is_single else rows


if __name__ == "__main__":
    manifest, arrays, function = load()
    zeros = {k: np.zeros((2, *v["shape"][1:]), v["dtype"]) for k, v in manifest["inputs"].items()}
    print(jax.tree.map(lambda x: (x.shape, str(x.dtype)), function(arrays, zeros)))
