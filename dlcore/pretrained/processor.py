"""Image processors: the preprocessing that belongs to published weights, on the host.

Resize -> crop or pad -> rescale to [0, 1] -> (x - mean) / std, read from transformers' preprocessor_config.json or from
timm's `pretrained_cfg`. Pillow resizes with antialiasing, as timm does; transformers' torchvision differs from it by at
most one gray level.
"""

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlcore.choices import check_choice, check_whole_number

__all__ = [
    "Processor",
    "check_normalization",
    "clips_of",
    "has_processor",
    "photographs_of",
    "processor_class",
    "processor_of_timm",
    "processor_of_transformers",
]

RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's numbers of its filters, which transformers' files hold."""


SHORTEST_WITHOUT_CROP = 384
"""ConvNextImageProcessor stretches images to a square from this side on; below it crops the center."""


class Processor(NamedTuple):
    """Preprocessing of photographs [H, W, 3].

    The first of these that is set gives the size: `multiple` with `size`, `size`, `shortest` (with `longest` as the
    most of the other side), `longest`. Without any, images keep their size.

    Args:
      size: (height, width) in pixels that images are stretched to.
      shortest: pixels of the shorter side; the longer one follows.
      longest: pixels of the longer side, or the most of it beside `shortest`.
      multiple: sides are rounded to multiples of it after the side nearer to `size` has been fitted.
      divisor: sides are rounded up to multiples of it; 1 for none.
      rounds_down: whether sides are rounded down to multiples of `divisor`, as GLPN and YOLOS do.
      blue_first: whether the network reads channels as blue, green and red, as MobileViT does.
      resample: Pillow's filter: nearest, bilinear, bicubic, lanczos, box or hamming.
      crop: (height, width) in pixels of the crop at the center; None crops nothing.
      floor_crop: where an odd number of rows is cut, whether the fewer go at the top (transformers), or an even number
        (torchvision and timm); columns alike.
      fill: gray levels of what a crop reads outside the image.
      pad: (height, width) that normalized images are padded to with zeros, at the right and the bottom.
      scale: factor of a gray level.
      offset: what is subtracted after scaling, 1 of ViViT.
      mean: mean of each channel after that; None leaves out mean and deviation.
      std: standard deviation of each channel after scaling.
    """

    size: tuple[int, int] | None = None
    shortest: int | None = None
    longest: int | None = None
    multiple: int | None = None
    divisor: int = 1
    resample: str = "bilinear"
    crop: tuple[int, int] | None = None
    fill: tuple[int, ...] = (0, 0, 0)
    pad: tuple[int, int] | None = None
    scale: float = 1 / 255
    offset: float = 0.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    rounds_down: bool = False
    blue_first: bool = False
    floor_crop: bool = False

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Compute the size that an image is resized to.

        Args:
          height: height of the image in pixels.
          width: width of the image in pixels.

        Returns:
          (height, width) in pixels.
        """
        if self.multiple is not None and self.size is not None:
            scales = self.size[0] / height, self.size[1] / width
            scale = min(scales, key=lambda s: abs(1 - s))
            return tuple(max(1, round(scale * side / self.multiple)) * self.multiple for side in (height, width))
        if self.size is not None:
            target = self.size
        elif self.shortest is not None:
            target = _by_shortest(height, width, self.shortest, self.longest)
        elif self.longest is not None:
            scale = self.longest / max(height, width)
            target = int(height * scale + 0.5), int(width * scale + 0.5)
        else:
            target = height, width
        if self.rounds_down:
            return tuple(max(1, side // self.divisor) * self.divisor for side in target)
        return tuple(-(-max(1, side) // self.divisor) * self.divisor for side in target)

    def pixels(self, image: np.ndarray) -> np.ndarray:
        """Resize and crop a photograph.

        Args:
          image: [H, W, 3] uint8, [H, W] or [H, W, 1] (gray), or [H, W, 4] (its transparency is left out).

        Returns:
          [H', W', 3] uint8.
        """
        from PIL import Image

        _checked(self)
        image = _rgb(image)
        target = self.resized(*image.shape[:2])
        if target != image.shape[:2]:
            resample = getattr(Image.Resampling, self.resample.upper())
            image = np.asarray(Image.fromarray(image).resize(target[::-1], resample))
        if self.crop is not None:
            image = _center_crop(image, self.crop, self.fill, self.floor_crop)
        return image[..., ::-1] if self.blue_first else image

    def at_size(self, height: int, width: int) -> "Processor":
        """Return the processor of another size, which cuts as large a share of a photograph.

        Args:
          height: height of what the network reads, in pixels.
          width: its width in pixels.
        """
        if self.crop is None:
            return self if self.size is None else self._replace(size=(height, width))
        scales = height / self.crop[0], width / self.crop[1]
        scale, sides = max(scales), {"crop": (height, width)}
        for name in ("shortest", "longest"):
            if (side := getattr(self, name)) is not None:
                sides[name] = round(scale * side)
        if self.size is not None:
            sides["size"] = tuple(round(s * side) for s, side in zip(scales, self.size, strict=True))
        return self._replace(**sides)

    def normalize(self, pixels: np.ndarray) -> np.ndarray:
        """Scale and normalize pixels.

        Args:
          pixels: [..., 3] uint8.

        Returns:
          [..., 3] float32.
        """
        _checked(self)
        x = np.asarray(pixels, np.float32) * np.float32(self.scale) - np.float32(self.offset)
        return x if self.mean is None else (x - np.float32(self.mean)) / np.float32(self.std)

    def __call__(self, images: np.ndarray | Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Preprocess photographs of any sizes.

        Args:
          images: one photograph [H, W, 3] uint8, or several of them, as a list or [B, H, W, 3]; see `photographs_of`.

        Returns:
          `pixel_values: [B, H', W', 3]` float32, padded with zeros at the right and the bottom to the largest of them
          (or to `pad`); `pixel_mask: [B, H', W']` int32, 1 where there is an image; `original_sizes: [B, 2]` and
          `resized_sizes: [B, 2]` int32, (height, width) in pixels.
        """
        photographs = photographs_of(images)
        pixels = [self.pixels(image) for image in photographs]
        sizes = np.array([image.shape[:2] for image in pixels], np.int32)
        height, width = self.pad or sizes.max(0)
        if (sizes > (height, width)).any():
            raise ValueError(f"pad={self.pad}: below {sizes.max(0).tolist()}, of an image; allowed: at least its sides")
        values = np.zeros((len(pixels), height, width, 3), np.float32)
        mask = np.zeros((len(pixels), height, width), np.int32)
        for i, image in enumerate(pixels):
            h, w = image.shape[:2]
            values[i, :h, :w], mask[i, :h, :w] = self.normalize(image), 1
        original = np.array([np.shape(image)[:2] for image in photographs], np.int32)
        return {"pixel_values": values, "pixel_mask": mask, "original_sizes": original, "resized_sizes": sizes}


def photographs_of(images: Any) -> list[np.ndarray]:
    """List photographs.

    Args:
      images: one photograph, or several of them, as a list or an array with a leading axis; each is an array, a path or
        an image of Pillow.

    Returns:
      The photographs, arrays.
    """
    is_one = isinstance(images, str | Path) or hasattr(images, "convert")
    is_one = is_one or (isinstance(images, np.ndarray) and images.ndim in (2, 3))
    if not (is_one or isinstance(images, np.ndarray | Sequence)):
        raise ValueError(f"images: a {type(images).__name__}; allowed: one or more of [H, W, 3] uint8, or paths")
    photographs = [_photograph(image) for image in ([images] if is_one else images)]
    if not photographs:
        raise ValueError("images=[]: no image; allowed: one or more of [H, W, 3] uint8")
    return photographs


def clips_of(images: Any) -> list[Any]:
    """List clips.

    Args:
      images: one clip, its frames as a list of photographs or [T, H, W, 3]; or several of them, as a list or [B, T, H,
        W, 3].

    Returns:
      The clips, each what `photographs_of` takes.
    """
    is_array = isinstance(images, np.ndarray)
    if not is_array and not (isinstance(images, Sequence) and not isinstance(images, str)):
        raise ValueError(f"images: a {type(images).__name__}; allowed: clips, frames as a list or [T, H, W, 3] uint8")
    is_one = images.ndim == 4 if is_array else not any(isinstance(x, list | tuple) or np.ndim(x) == 4 for x in images)
    return [images] if is_one else list(images)


def _photograph(image: Any) -> np.ndarray:
    if isinstance(image, str | Path):
        from dlcore.data.decoding import load_image

        return load_image(image)
    return np.asarray(image.convert("RGB") if hasattr(image, "convert") else image)


def _rgb(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise ValueError(f"images: {image.dtype} {list(image.shape)}: no photograph; allowed: [H, W, 3] uint8")
    if min(image.shape[:2]) < 1:
        raise ValueError(f"images: {list(image.shape)}: no pixels; allowed: at least 1 x 1")
    if image.ndim == 2 or image.shape[2] == 1:
        return np.repeat(image.reshape(*image.shape[:2], 1), 3, 2)
    return image[..., :3]


def _by_shortest(height: int, width: int, shortest: int, longest: int | None) -> tuple[int, int]:
    short, long = sorted((height, width))
    exact: float = shortest
    if longest is not None and long / short * shortest > longest:
        exact = longest * short / long
        shortest = round(exact)
    if short == shortest:
        return height, width
    other = int(exact * long / short)
    return (other, shortest) if width < height else (shortest, other)


def _center_crop(image: np.ndarray, crop: tuple[int, int], fill: tuple[int, ...], floor: bool) -> np.ndarray:
    """Crop the center; what lies outside the image is filled."""
    missing = [max(0, c - side) for c, side in zip(crop, image.shape[:2], strict=True)]
    if any(missing):
        canvas = np.empty((image.shape[0] + missing[0], image.shape[1] + missing[1], 3), np.uint8)
        canvas[:] = fill
        top, left = (m // 2 for m in missing)
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
        image = canvas
    whole = math.floor if floor else round
    top, left = (whole((side - c) / 2) for c, side in zip(crop, image.shape[:2], strict=True))
    return image[top : top + crop[0], left : left + crop[1]]


def check_normalization(resample: str, scale: float, mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    """Refuse a filter and numbers that no photograph can be prepared by.

    Args:
      resample: name of Pillow's filter.
      scale: factor of a gray level.
      mean: mean of each channel; None leaves out mean and deviation.
      std: standard deviation of each channel.
    """
    check_choice("resample", resample, RESAMPLE.values())
    for name, values, least in (("mean", mean, -math.inf), ("std", std, 0.0)):
        if values is not None and not (len(values) == 3 and all(_is_above(value, least) for value in values)):
            allowed = "three positive numbers" if name == "std" else "three numbers"
            raise ValueError(f"image_{name}={list(values)}: out of range; allowed: {allowed}")
    if mean is not None and std is None:
        raise ValueError(f"image_mean={mean}, image_std={std}: no deviation; allowed: positive numbers, or no mean")
    if not _is_above(scale, 0):
        raise ValueError(f"rescale_factor={scale!r}: out of range; allowed: positive numbers")


def _checked(processor: Processor) -> Processor:
    check_normalization(processor.resample, processor.scale, processor.mean, processor.std)
    sides = {name: getattr(processor, name) for name in ("shortest", "longest", "multiple", "divisor")}
    for name in ("rounds_down", "blue_first", "floor_crop"):
        if not isinstance(getattr(processor, name), bool):
            raise ValueError(f"{name}={getattr(processor, name)!r}: no bool; allowed: True, False")
    for name in ("size", "crop", "pad"):
        pair = getattr(processor, name)
        if pair is not None and not (isinstance(pair, tuple | list) and len(pair) == 2):
            raise ValueError(f"{name}={pair!r}: no size; allowed: (height, width)")
    if len(processor.fill) != 3 or not all(_is_above(level, -1) and level <= 255 for level in processor.fill):
        raise ValueError(f"fill={processor.fill}: no color; allowed: three gray levels, 0 to 255")
    sides |= {
        f"{name}[{k}]": side
        for name in ("size", "crop", "pad")
        for k, side in enumerate(getattr(processor, name) or ())
    }
    for name, side in sides.items():
        if side is not None:
            check_whole_number(name, side, 1)
    return processor


def _is_above(value: Any, least: float) -> bool:
    return isinstance(value, Real) and least < value < math.inf


def _pair(value: Any) -> tuple[int, int]:
    return (value["height"], value["width"]) if isinstance(value, Mapping) else (value, value)


def processor_of_transformers(config: Mapping[str, Any]) -> Processor:
    """Read transformers' preprocessor_config.json.

    Args:
      config: content of the file; of a processor_config.json its `image_processor`.

    Returns:
      The processor.
    """
    inner = config.get("image_processor", config) if isinstance(config, Mapping) else config
    return _read(_of_transformers, inner, "preprocessor_config.json")


def _read(read: Callable[[Mapping[str, Any]], Processor], config: Mapping[str, Any], file: str) -> Processor:
    if not isinstance(config, Mapping):
        raise ValueError(f"{file}: a {type(config).__name__}; allowed: a JSON object")
    try:
        return _checked(read(config))
    except KeyError as error:
        raise ValueError(f"{file}: {error} is missing; allowed: the file as it was published") from error
    except (TypeError, IndexError) as error:
        raise ValueError(f"{file}: no photograph is prepared so ({error}); allowed: the file as published") from error


@functools.cache
def _defaults() -> dict[str, dict[str, Any]]:
    """Return what the classes of transformers have where a file says nothing."""
    return json.loads(Path(__file__).with_name("processors.json").read_text(encoding="utf-8"))


def processor_class(config: Mapping[str, Any]) -> str:
    """Name the class of a preprocessor_config.json, as files of any year say it.

    Args:
      config: content of the file.

    Returns:
      Such as ViTImageProcessor; "" where the file names none.
    """
    kind = str(config.get("image_processor_type", config.get("feature_extractor_type", "")))
    return kind.removesuffix("Fast").removesuffix("Pil").replace("FeatureExtractor", "ImageProcessor")


def has_processor(config: Mapping[str, Any]) -> bool:
    """Return whether dlcore prepares photographs as the class of a preprocessor_config.json does.

    Args:
      config: content of the file.
    """
    return processor_class(config) in {"", *_defaults()}


def _of_transformers(config: Mapping[str, Any]) -> Processor:
    name = processor_class(config)
    if not has_processor(config):
        raise ValueError(f"image_processor_type={name!r}: not in dlcore; allowed: {', '.join(_defaults())}")
    kind = name.removesuffix("ImageProcessor")
    config = {**_defaults().get(name, {}), **{key: value for key, value in config.items() if value is not None}}
    size, fields = config.get("size", {}), dict[str, Any]()
    if isinstance(size, int):
        size = {"height": size, "width": size} if config.get("default_to_square", True) else {"shortest_edge": size}
    if isinstance(size, list):
        size = {"height": size[0], "width": size[1]}
    if "max_size" in config and "shortest_edge" in size:
        size = {**size, "longest_edge": config["max_size"]}
    fields |= {"crop": _pair(config["crop_size"])} if config.get("do_center_crop") else {}
    if config.get("do_resize", True) and kind != "GLPN":  # that one keeps the size but for the divisor
        if kind in LARGER:
            fields |= LARGER[kind](size, config)
        elif "height" in size:
            fields["size"] = _pair(size)
        elif "shortest_edge" in size or "longest_edge" in size:
            fields |= {"shortest": size.get("shortest_edge"), "longest": size.get("longest_edge")}
        else:
            raise ValueError(f"size={size!r}: unknown form; allowed: height and width, shortest_edge, longest_edge")
    if config.get("keep_aspect_ratio"):
        fields["multiple"] = config.get("ensure_multiple_of", 1)
    if config.get("do_pad") and config.get("pad_size"):
        fields["pad"] = _pair(config["pad_size"])
    if config.get("do_normalize", True):
        twice = bool(config.get("include_top"))  # EfficientNet divides by the deviation once more
        fields["mean"] = tuple(config["image_mean"])
        fields["std"] = tuple(value**2 if twice else value for value in config["image_std"])
    return Processor(
        divisor=16 if kind == "Yolos" else config.get("size_divisor") or config.get("size_divisibility") or 1,
        floor_crop="crop" in fields,
        rounds_down=kind in ("GLPN", "Yolos"),
        resample=RESAMPLE.get(config["resample"], config["resample"]) if "resample" in config else "bilinear",
        scale=config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0,
        offset=float(bool(config.get("offset") or config.get("rescale_offset"))),
        blue_first=bool(config.get("do_flip_channel_order")),
        **fields,
    )


def _of_convnext(size: Mapping[str, int], config: Mapping[str, Any]) -> dict[str, Any]:
    side = size["shortest_edge"]
    if side >= SHORTEST_WITHOUT_CROP:
        return {"size": (side, side)}
    return {"shortest": int(side / config["crop_pct"]), "crop": (side, side)}


LARGER = {
    "ConvNext": _of_convnext,
    "Levit": lambda size, config: {"shortest": int(256 / 224 * size["shortest_edge"])},
    "PoolFormer": lambda size, config: {"shortest": int(size["shortest_edge"] / config["crop_pct"])},
}
"""Classes that resize to more than `size` before their crop: (size, configuration) -> fields of `Processor`."""


def processor_of_timm(config: Mapping[str, Any]) -> Processor:
    """Read timm's `pretrained_cfg`, as timm evaluates with it.

    Args:
      config: `input_size`, `interpolation`, `crop_pct`, `crop_mode`, `mean` and `std`.

    Returns:
      The processor.
    """
    return _read(_of_timm, config, "pretrained_cfg")


def _of_timm(config: Mapping[str, Any]) -> Processor:
    if len(config["input_size"]) < 2:
        raise ValueError(f"input_size={config['input_size']}: no size; allowed: (channels, height, width)")
    height, width = config["input_size"][-2:]
    pct = config.get("crop_pct") or 0.875
    if not _is_above(pct, 0):
        raise ValueError(f"crop_pct={pct!r}: out of range; allowed: positive numbers")
    scaled = math.floor(height / pct), math.floor(width / pct)
    mode = config.get("crop_mode") or "center"
    check_choice("crop_mode", mode, ("center", "squash", "border"))
    if mode == "squash":
        size: dict[str, Any] = {"size": scaled}
    elif mode == "border":
        size = {"longest": max(scaled), "fill": tuple(round(255 * m) for m in config["mean"])}
    else:
        size = {"shortest": min(scaled)}
    return Processor(
        **size,
        crop=(height, width),
        resample=config.get("interpolation", "bilinear"),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
