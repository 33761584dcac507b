"""Shared by experiments that optimize pixels: a frozen network, an optimizer of the pixels, report panels."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import optax

from dlcore.experiment.experiment import Setup
from dlcore.experiment.setting import Setting
from dlcore.experiment.settings import ONLY_F32
from dlcore.kits.training import pretrained_network
from dlcore.kits.training.pretrained_network import load_network
from dlcore.learner import Learner, Range
from dlcore.modes.report_context import ReportContext

__all__ = ["SETTINGS", "build", "check_batch_size", "film_of_images", "optimizer", "panels"]

_FEW = 4
"""Largest number of images in a half-width panel beside their film."""

SETTINGS = {
    "network": Setting(
        None,
        "a run's folder, a folder of `dlcore convert` or a packed .npz; by default the small VGG that dlcore ships",
        str | None,
        essential=True,
        origin=pretrained_network.origin,
    ),
    "optimizer": Setting(
        "lbfgs",
        "optimizer of the pixels; lbfgs searches for its own step size",
        Literal["lbfgs", "adam"],
        essential=True,
    ),
    "learning_rate": Setting(0.05, "learning rate of adam, constant", limits=Range(0), essential=True),
    **ONLY_F32,
}


def build(make: Callable[..., Learner], setup: Setup, **fields: Any) -> Learner:
    """Build a learner of pixels with the network and optimizer that the flags name.

    Args:
      make: the technique's factory.
      setup: facts of the run; its flags must contain SETTINGS.
      **fields: fields of the model to change after training; fields that it lacks are ignored.

    Returns:
      The learner.
    """
    network = load_network(setup.flags.network)
    return make(
        model=network.model.clone(**{name: value for name, value in fields.items() if hasattr(network.model, name)}),
        variables=network.variables,
        optimizer=optimizer(setup),
        mean=network.mean,
        std=network.std,
        **setup.flags.group("learner"),
    )


def check_batch_size(batch_size: int, num_images: int) -> None:
    """Check that all images are optimized: those of the first batch are.

    Args:
      batch_size: of training.
      num_images: number of images that the data ask for.

    Raises:
      ValueError: the batch is smaller.
    """
    if batch_size < num_images:
        raise ValueError(f"batch_size={batch_size}: {num_images} images are optimized; allowed: at least {num_images}")


def optimizer(setup: Setup) -> optax.GradientTransformationExtraArgs:
    """Build the optimizer of the pixels.

    Args:
      setup: facts of the run; its flags must contain SETTINGS.

    Returns:
      L-BFGS of memory 10 with a zoom line search, or Adam.
    """
    if setup.flags.optimizer == "lbfgs":
        return optax.lbfgs(memory_size=10)
    return optax.with_extra_args_support(optax.adam(setup.flags.learning_rate))


def film_of_images(build: Callable[[Setup], Learner], setup: Setup, count: int = 1) -> list:
    """Build the hook that films the optimized images.

    Args:
      build: the experiment's `build`, Setup -> Learner.
      setup: facts of the run.
      count: number of images.

    Returns:
      The hook, in a list.
    """
    from dlcore.modes.film import film_hooks
    from dlcore.report.generative import picture_grid

    batch = {"index": np.arange(count, dtype=np.int32)}
    title = "The image by step" if count == 1 else "The images by step"
    return film_hooks(build, setup, batch, lambda outputs: picture_grid(outputs["image"], min(count, 5)), title)


def panels(context: ReportContext, images: dict[str, np.ndarray], title: str, note: str = "") -> list:
    """Show images by name, and the curves.

    Args:
      context: the ReportContext.
      images: name -> [H, W, 3] uint8 or float in [0, 1].
      title: title of the images' panel.
      note: a line under it.

    Returns:
      Report panels.
    """
    from dlcore.report.curves import curves
    from dlcore.report.pictures import examples, to_uint8

    pictures = np.stack([to_uint8(np.asarray(image)[None])[0] for image in images.values()])
    side_by_side = examples(pictures, list(images), title, note, count=len(pictures))
    return [side_by_side._replace(half=len(pictures) <= _FEW), curves(context.history)]
