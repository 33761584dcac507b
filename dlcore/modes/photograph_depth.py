"""Depth of one photograph by a published network: GLPN, DPT, Depth Anything."""

from pathlib import Path

import jax
import numpy as np

from dlcore.data.decoding import load_image
from dlcore.ops.checks import check_finite, check_shapes
from dlcore.pretrained import Pretrained, from_pretrained
from dlcore.report.generative import save_picture

__all__ = ["depth_file", "depth_levels", "is_metric", "photograph_depth"]


def is_metric(net: Pretrained) -> bool:
    """Find out what a network predicts.

    Args:
      net: the network.

    Returns:
      True for depth in meters, False for inverse depth without a unit.
    """
    return net.name == "glpn" or bool(net.fields.get("metric", False))


def photograph_depth(net: Pretrained, photograph: np.ndarray) -> np.ndarray:
    """Predict the depth of a photograph.

    Args:
      net: the network.
      photograph: [H, W, 3] uint8.

    Returns:
      [H, W] float32, in meters or inverse depth, see `is_metric`; resized bilinearly.
    """
    check_shapes(photograph=(photograph, "int H W 3"))
    depth = net(photograph)["predicted_depth"][0]
    return np.asarray(jax.image.resize(depth, photograph.shape[:2], "linear", antialias=False), np.float32)


def depth_levels(depth: np.ndarray, metric: bool) -> np.ndarray:
    """Turn depth into gray levels of 16 bits.

    Args:
      depth: [H, W], in meters, or inverse depth.
      metric: whether it is in meters.

    Returns:
      [H, W] uint16: millimeters, at most 65535; or 0 at the least and 65535 at the largest inverse depth.
    """
    check_shapes(depth=(depth, "H W"))
    check_finite("depth", depth)
    low, high = float(depth.min()), float(depth.max())
    levels = 1000.0 * depth if metric else 65535 * (depth - low) / max(high - low, 1e-12)
    return np.rint(levels).clip(0, 65535).astype(np.uint16)


def depth_file(folder: Path, image: Path, output: Path) -> None:
    """Predict the depth of an image file: print its range, write it with 16 bits and as a colored picture.

    Args:
      folder: folder of a published network.
      image: path of the image.
      output: path of the .png file; the colored picture's name ends in _color.png.

    Raises:
      FileNotFoundError: the folder, a file of it or the image is missing.
      ValueError: it holds no network of depth, or the image cannot be read.
      MissingPackage: `safetensors` is not installed.
    """
    from matplotlib import colormaps
    from PIL import Image

    photograph = load_image(image)
    net = from_pretrained(folder)
    if net.family.kind != "depth":
        raise ValueError(f"folder={str(folder)!r}: {net.name} predicts no depth; allowed: GLPN, DPT, Depth Anything")
    metric, depth = is_metric(net), photograph_depth(net, photograph)
    low, high = float(depth.min()), float(depth.max())
    fractions = (depth - low) / max(high - low, 1e-12)
    colors = colormaps["magma"](1 - fractions if metric else fractions, bytes=True)[..., :3]
    color = save_picture(output.with_name(f"{output.stem}_color.png"), np.asarray(colors))
    Image.fromarray(depth_levels(depth, metric)).save(output)
    if metric:
        print(f"depth: {low:.3f} to {high:.3f} meters\n{output}: millimeters, 16 bits")
    else:
        print(f"inverse depth: {low:.4g} to {high:.4g}, without a unit; large is near")
        print(f"{output}: 0 is {low:.4g} and 65535 is {high:.4g}, 16 bits")
    print(f"{color}: bright is near")
