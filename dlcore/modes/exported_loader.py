"""Load and run an exported function. Needs jax, flatbuffers, numpy and safetensors.

python load.py                                  runs the function on zeros
>>> from load import predict
>>> predict(image)["class"]                     image: uint8 [H, W, C] of any size, or a batch of them

`--mode=export` writes this file as load.py; manifest.json says what each input and output is.
"""

import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

__all__ = ["load", "predict", "preprocess"]

HERE = Path(__file__).parent


@functools.cache
def load(folder: str | Path = HERE) -> tuple[dict, dict[str, np.ndarray], Callable[[dict, dict], Any]]:
    """Load an exported function.

    Args:
      folder: with model.jaxexp, weights.safetensors and manifest.json.

    Returns:
      (manifest, weights, function of (weights, inputs)).

    Raises:
      ValueError: the program is not the one that the manifest names.
    """
    from safetensors.numpy import load_file

    folder = Path(folder)
    manifest, content = json.loads((folder / "manifest.json").read_text()), (folder / "model.jaxexp").read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
        path = folder / "model.jaxexp"
        raise ValueError(f"{path}: changed or cut; allowed: the program whose sum the manifest holds")
    return manifest, load_file(folder / "weights.safetensors"), jax.jit(jax.export.deserialize(bytearray(content)).call)


def preprocess(images: np.ndarray, rule: dict[str, Any]) -> np.ndarray:
    """Turn images into the input of the exported function.

    Args:
      images: [N, H, W, C], uint8 in [0, 255] or floating in [0, 1], of any size.
      rule: `input` of the manifest.

    Returns:
      [N, h, w, C] float32 in [0, 1]: each image scaled until it covers (h, w) / crop_pct (linear, antialiased), its
      center (h, w) cut out.

    Raises:
      ValueError: shape, dtype or range is another.
    """
    height, width, channels = rule["shape"][1:]
    if images.ndim != 4 or images.shape[-1] != channels:
        raise ValueError(f"image: shape {images.shape}; allowed: [H, W, {channels}] or [N, H, W, {channels}]")
    if images.dtype == np.uint8:
        images = images.astype(np.float32)
    elif not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"image: dtype {images.dtype}; allowed: uint8 in [0, 255], floats in [0, 1]")
    elif not (images.min() >= 0 and images.max() <= 1):
        found = f"{images.min():g} to {images.max():g}"
        raise ValueError(f"image: floats from {found}; allowed: floats in [0, 1], uint8 in [0, 255]")
    else:
        images = images.astype(np.float32) * 255
    scale = max(height / images.shape[1], width / images.shape[2]) / rule["crop_pct"]
    if images.shape[1:3] != (height, width) or scale != 1:
        shift = [(side - scale * n) / 2 for side, n in zip((height, width), images.shape[1:3], strict=True)]
        shape = (len(images), height, width, channels)
        images = jax.image.scale_and_translate(
            images, shape, (1, 2), np.float32([scale, scale]), np.float32(shift), "linear", antialias=True
        )
        images = np.rint(images)
    return np.asarray(images, np.float32) / 255


def predict(image: np.ndarray, folder: str | Path = HERE) -> dict[str, Any] | list[dict[str, Any]]:
    """Classify an image, or each image of a batch.

    Args:
      image: [H, W, C] or [N, H, W, C], uint8 in [0, 255] or floating in [0, 1], of any size.
      folder: of the exported function.

    Returns:
      {"class": name, "probabilities": {name: probability}, the most probable first}; a list of these for a batch.

    Raises:
      ValueError: the function does not classify images, or `image` is none that it takes.
    """
    manifest, weights, run = load(folder)
    if "input" not in manifest:
        raise ValueError(f"{folder}: does not classify images; allowed: run(weights, inputs) of load()")
    image = np.asarray(image)
    images = preprocess(image[None] if image.ndim == 3 else image, manifest["input"])
    rows = []
    for probabilities in np.asarray(run(weights, {manifest["input"]["name"]: images})["probabilities"]):
        order = np.argsort(-probabilities, kind="stable")
        ranked = {manifest["spec"]["class_names"][i]: float(probabilities[i]) for i in order}
        rows.append({"class": next(iter(ranked)), "probabilities": ranked})
    return rows[0] if image.ndim == 3 else rows


if __name__ == "__main__":
    found, arrays, function = load()
    zeros = {k: np.zeros((2, *v["shape"][1:]), v["dtype"]) for k, v in found["inputs"].items()}
    print(jax.tree.map(lambda x: (x.shape, str(x.dtype)), function(arrays, zeros)))
