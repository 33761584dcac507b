"""What pages that map an image to a class share: data by name, an optimiser from flags, predictions, report panels."""

from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.data.decoding import DECODERS
from dlcore.learner import Range
from dlcore.optim import OPTIMIZERS, SCHEDULES, create_optimizer, create_schedule
from dlcore.run.flags import Flags, Setting
from dlcore.run.page import Data, Setup

__all__ = [
    "AUGMENTATIONS", "DATA_SETTINGS", "INIT_SETTINGS", "OPTIMIZER_SETTINGS", "augmentation", "data", "describe",
    "example", "input_size", "inputs", "model", "optimizer", "panels", "pictures", "preprocess", "start",
]  # fmt: skip

STRONG_AUGMENTATIONS = ("cutout", "rand_augment", "auto_augment")
"""On top of what auto stands for: a square of half the side, two operations of strength 9, the policy for CIFAR-10."""

DATA_SETTINGS = {
    "dataset": Setting("digits", "digits (embedded), folder, or a tfds name such as mnist, fashion_mnist, cifar10"),
    "data_dir": Setting(None, "where tfds datasets were prepared, or a folder (or .zip) of class folders", str | None),
    "image_size": Setting(None, "side of the images of a folder, or that are streamed", int | None, Range(1)),
    "memory_limit": Setting(
        4.0, "GiB of decoded images to hold; more stay on disk and are streamed, decoded as needed", limits=Range(0)
    ),
    "workers": Setting(None, "threads that decode streamed images; one a core by default", int | None, Range(0)),
    "decoder": Setting("pillow", "of streamed images; opencv is faster, with other pixels", Literal[DECODERS]),
    "input_size": Setting(
        None,
        "side images are resized to (bilinear); by default twice that of images under 16 pixels",
        int | None,
        Range(1),
    ),
    "skip_bad": Setting(False, "folder: leave out images that cannot be read, and say how many"),
    "valid_fraction": Setting(0.1, "share of train set aside for validation, by seed", limits=Range(0.001, 0.9)),
    "augment": Setting(
        "auto",
        "of training images",
        Literal[
            "auto", "none", "affine", "shift", "shift_flip", "crop_flip", "resized_crop_flip", *STRONG_AUGMENTATIONS
        ],
    ),
}

OPTIMIZER_SETTINGS = {
    "optimizer": Setting("adamw", "see dlcore.optim.create_optimizer", Literal[tuple(OPTIMIZERS)]),
    "learning_rate": Setting(3e-3, "peak of the schedule", limits=Range(0)),
    "schedule": Setting("cosine", "after the warm-up", Literal[tuple(SCHEDULES)]),
    "warmup": Setting(0.1, "share of the steps in which the rate rises from 0", limits=Range(0, 1)),
    "momentum": Setting(0.9, "Adam's first decay rate too", limits=Range(0, 1)),
    "weight_decay": Setting(0.05, "decoupled for adamw and lamb, L2 elsewhere; kernels only", limits=Range(0)),
    "clip_norm": Setting(None, "largest global norm of the gradient", float | None, Range(1e-12)),
    "ema": Setting(
        None, "decay of the parameter average that is measured; none by default", float | None, Range(0, 0.999999)
    ),
    "accumulate": Setting(1, "steps whose gradients make one update", limits=Range(1)),
}

INIT_SETTINGS = {
    "init_from": Setting(None, "folder of weights to start from, as `dlcore convert` writes it", str | None),
    "replace_head": Setting(False, "keep the initial head where that of --init_from has another number of classes"),
}

AUGMENTATIONS = {
    "digits": "affine", "mnist": "shift", "fashion_mnist": "shift_flip", "imagenet2012": "resized_crop_flip"
}  # fmt: skip
"""What `--augment=auto` stands for; otherwise crop_flip, or resized_crop_flip of streamed images of several sizes."""


def data(flags: Flags) -> Data:
    """Splits by name, and the statistics of the training split.

    Raises:
      ValueError, FileNotFoundError: as `dlcore.data.image_classification.load`.
    """
    from dlcore.data.augment import channel_statistics
    from dlcore.data.image_classification import load
    from dlcore.data.streaming import Workers, random_crops, sample_of, streamed

    splits = load(
        flags.dataset, flags.data_dir, seed=flags.seed, valid_fraction=flags.valid_fraction,
        image_size=flags.image_size, skip_bad=flags.skip_bad,
        limit_bytes=int(flags.get("memory_limit", 4.0) * 2**30),
        workers=Workers(flags.get("workers"), flags.get("decoder", "pillow")),
    )  # fmt: skip
    train, notes, images = splits.train, splits.notes, streamed(splits.train)
    mean, std = channel_statistics(train if images is None else sample_of(train))
    spec = {
        "dataset": flags.dataset,
        "class_names": list(splits.class_names),
        "num_classes": len(splits.class_names),
        "image_shape": list(splits.image_shape),
        "mean": [float(m) for m in mean],
        "std": [float(s) for s in std],
    }
    if images is not None:
        notes += (f"mean and standard deviation are those of {min(len(train), 1000):,} training images",)
        spec["crop_pct"] = images.crop_pct
        if "augment" in flags and _augment_name(flags, spec) == "resized_crop_flip":
            train = random_crops(train)
            notes += ("training images are random boxes of those on disk, mirrored at random (resized_crop_flip)",)
    return Data(train, splits.valid, splits.test, spec, notes)


def input_size(flags: Flags, spec: dict) -> int | None:
    """The side that images are resized to; None leaves them as they are, as on pages without `--input_size`."""
    if "input_size" not in flags:
        return None
    side = spec["image_shape"][0]
    return flags.input_size or (2 * side if side < 16 else None)


def preprocess(setup: Setup):
    """Images [B, H, W, C], uint8 or float in [0, 1], to `--input_size`, zero mean and unit variance by channel."""
    size = input_size(setup.flags, setup.spec)
    mean, std = np.asarray(setup.spec["mean"]), np.asarray(setup.spec["std"])

    def apply(images: jax.Array) -> jax.Array:
        dtype = jnp.promote_types(setup.dtype, jnp.float32)
        images = images.astype(dtype) / 255 if images.dtype == jnp.uint8 else images.astype(dtype)
        if size is not None:
            images = jax.image.resize(images, (images.shape[0], size, size, images.shape[3]), "linear")
        return (images - mean.astype(dtype)) / std.astype(dtype)

    return apply


def _augment_name(flags: Flags, spec: dict) -> str:
    """The plain augmentation that `--augment` stands for; `auto` is what ImageNet has for images of several sizes."""
    if flags.augment not in ("auto", *STRONG_AUGMENTATIONS):
        return flags.augment
    return AUGMENTATIONS.get(flags.dataset, "resized_crop_flip" if spec.get("crop_pct", 1.0) < 1 else "crop_flip")


def augmentation(flags: Flags, spec: dict):
    """`(key, normalised image) -> image` for `--augment`, None for none. What comes in from outside is black.

    Streamed images come cropped and mirrored from the host, so that nothing is left of resized_crop_flip.
    """
    from dlcore.data import augment

    name = _augment_name(flags, spec)
    side = input_size(flags, spec) or spec["image_shape"][0]
    black = -jnp.asarray(spec["mean"]) / jnp.asarray(spec["std"])

    def on_black(function):
        return lambda key, image: function(key, image - black.astype(image.dtype)) + black.astype(image.dtype)

    def on_unit(function):
        mean, std = (jnp.asarray(spec[statistic]) for statistic in ("mean", "std"))

        def apply(key, image):
            unit = jnp.clip(image * std.astype(image.dtype) + mean.astype(image.dtype), 0, 1)
            return (function(key, unit) - mean.astype(image.dtype)) / std.astype(image.dtype)

        return apply

    pixels = max(1, round(side / 8))
    shift = augment.random_shift(max(1, pixels // 2))
    cropped = augment.compose(augment.random_resized_crop((0.08, 1.0)), augment.random_flip())
    plain = {
        "none": None,
        "affine": on_black(augment.random_affine(degrees=20, translate=0.125, scale=(0.8, 1.2), shear=15)),
        "shift": on_black(shift),
        "shift_flip": on_black(augment.compose(shift, augment.random_flip())),
        "crop_flip": augment.compose(augment.random_crop(pixels, "reflect"), augment.random_flip()),
        "resized_crop_flip": None if "crop_pct" in spec else cropped,
    }[name]
    if flags.augment not in STRONG_AUGMENTATIONS:
        return plain
    strong = {
        "cutout": augment.cutout(max(1, side // 2)),
        "rand_augment": on_unit(augment.rand_augment(fill=0.5)),
        "auto_augment": on_unit(augment.auto_augment(fill=0.5)),
    }[flags.augment]
    return strong if plain is None else augment.compose(plain, strong)


def optimizer(setup: Setup) -> optax.GradientTransformationExtraArgs:
    """The optimiser that the flags describe, on a schedule over the run's steps."""
    flags = setup.flags
    accumulate = flags.get("accumulate", 1)
    updates = max(1, setup.steps // accumulate)
    schedule = create_schedule(flags.schedule, flags.learning_rate, updates, round(flags.warmup * updates))
    return create_optimizer(
        flags.optimizer, schedule, momentum=flags.momentum, weight_decay=flags.weight_decay,
        clip_norm=flags.clip_norm, ema=flags.get("ema"), accumulate=accumulate, axis=setup.axis,
    )  # fmt: skip


def model(setup: Setup):
    """The model that the flags name, for the classes of the data."""
    from dlcore.models import create_model

    fields = {"num_classes": setup.spec["num_classes"], "dtype": setup.dtype, "axis_name": setup.axis}
    return create_model(setup.flags.model, **fields, **setup.flags.group("model"))


def example(spec: dict) -> dict[str, np.ndarray]:
    """A batch of one image of zeros."""
    zero = np.zeros(1, np.int32)
    return {"image": np.zeros((1, *spec["image_shape"]), np.float32), "label": zero, "index": zero}


def inputs(flags: Flags, spec: dict) -> tuple[Any, list[str]]:
    """The images under `--input` at the size of the training images, and their paths."""
    from dlcore.data.decoding import centre_crop
    from dlcore.data.images import list_images, load_image
    from dlcore.data.source import Source

    height, width, channels = spec["image_shape"]
    paths = list_images(Path(flags.input))
    if "crop_pct" in spec:
        images = np.stack([centre_crop(path, (height, width), channels, spec["crop_pct"]) for path in paths])
    else:
        images = np.stack([load_image(path, (height, width), channels) for path in paths])
    return Source({"image": images, "label": np.zeros(len(paths), np.int32)}, len(paths)), [str(p) for p in paths]


def describe(outputs: dict, spec: dict) -> list[dict]:
    """Class and probabilities, the most probable first."""
    rows = []
    for probabilities in outputs["probabilities"]:
        order = np.argsort(-probabilities, kind="stable")
        ranked = {spec["class_names"][i]: float(probabilities[i]) for i in order}
        rows.append({"class": next(iter(ranked)), "probabilities": ranked})
    return rows


def start(setup: Setup):
    """State -> State with the weights of `--init_from` and an optimiser that starts from them; None without them."""
    if setup.flags.init_from is None:
        return None

    def replace(state):
        from dlcore.run.pretrained import initial_variables

        flags, variables = setup.flags, {"params": state.params, **state.model_state}
        found = initial_variables(flags.init_from, flags.model, variables, flags.replace_head)
        params = found.pop("params")
        return state.replace(params=params, model_state=found, opt_state=jax.jit(optimizer(setup).init)(params))

    return replace


def panels(context: Any) -> list:
    """Curves, confusion matrix, worst mistakes, calibration, first-layer filters."""
    from dlcore.diagnostics import curves as charts
    from dlcore.diagnostics import panels as tables
    from dlcore.diagnostics import pictures

    names, source = context.spec["class_names"], context.data.test
    found = [charts.curves(context.history)]
    if context.arrays.get("confusion") is not None:
        found.append(tables.confusion_matrix(context.arrays["confusion"], names))
    images, labels = source.arrays["image"], source.arrays["label"]
    found.append(pictures.worst_mistakes(images, labels, context.outputs["probabilities"], names))
    prefix = "calibration/"
    calibration = {
        key.removeprefix(prefix): value
        for key, value in {**context.numbers, **context.arrays}.items()
        if key.startswith(prefix)
    }
    if calibration:
        found.append(charts.reliability(calibration))
    kernel = first_kernel(context.state.params)
    if kernel is not None:
        found.append(pictures.filters(kernel))
    return found


def pictures(context: Any) -> dict[str, np.ndarray]:
    """First-layer filters and the surest mistakes side by side, for TensorBoard."""
    from dlcore.diagnostics.pictures import filter_grid, to_uint8

    found = {}
    kernel = first_kernel(context.state.params)
    if kernel is not None:
        found["first_layer_filters"] = filter_grid(kernel, scale=8)[..., :3]
    labels, probabilities = context.data.test.arrays["label"], context.outputs["probabilities"]
    wrong = np.flatnonzero(probabilities.argmax(-1) != labels)
    worst = wrong[np.argsort(-probabilities[wrong].max(-1), kind="stable")][:16]
    if len(worst):
        images = to_uint8(context.data.test.arrays["image"][worst])
        found["worst_mistakes"] = np.concatenate(list(images), axis=1)
    return found


def first_kernel(params: Any) -> np.ndarray | None:
    """The first convolution's kernel [h, w, cin, cout]: the 4-D leaf of the fewest input channels; None without one."""
    kernels = [x for x in jax.tree.leaves(params) if x.ndim == 4 and x.shape[0] > 1]
    return np.asarray(min(kernels, key=lambda k: k.shape[2])) if kernels else None
