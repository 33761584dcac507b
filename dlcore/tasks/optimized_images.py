"""OptimizedImages: images whose pixels descend on an objective of a frozen network.

@dataclasses.dataclass(frozen=True)
class Photograph(OptimizedImages):
    image: str = "flower"

    def data(self, flags): ...

experiment = Experiment(__file__, __doc__, feature_inversion.learner, task=Photograph(optimizer="adam"))
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import optax
from flax import linen as nn

from dlcore.experiment.parts import Run
from dlcore.experiment.setting import Setting
from dlcore.experiment.task import Task
from dlcore.learner import Learner, Range
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.weights.network import load_network, measuring_network

__all__ = ["FrozenNetwork", "OptimizedImages", "average_pooling", "check_batch_size", "image_panels"]

_FEW = 4
"""Largest number of images in a half-width panel beside their film."""


@dataclasses.dataclass(frozen=True)
class FrozenNetwork(Task):
    """A trained network, by which a technique makes images.

    Args:
      network: a run's folder, a folder of `dlcore convert` or a packed .npz; by default the small VGG that dlcore ships
    """

    network: Annotated[str | None, "essential"] = None

    averages: ClassVar[bool] = False
    """Whether the network pools by the mean, which gives smoother images."""

    def settings(self) -> dict[str, Setting]:
        """Collect the flags of the task; `--network` says where its weights come from."""
        settings = super().settings()
        return {**settings, "network": settings["network"]._replace(origin=measuring_network)}

    def arguments(self, run: Run) -> dict[str, Any]:
        """Load the network."""
        network = load_network(run.flags.network)
        return {
            "model": average_pooling(network.model) if self.averages else network.model,
            "variables": network.variables,
            "mean": network.mean,
            "std": network.std,
        }


@dataclasses.dataclass(frozen=True)
class OptimizedImages(FrozenNetwork):
    """Images whose pixels are optimized for a frozen network; a subclass has the data.

    Args:
      optimizer: optimizer of the pixels; lbfgs searches for its own step size
      learning_rate: learning rate of adam, constant
      precision: compute precision; this experiment has no other
    """

    optimizer: Annotated[Literal["lbfgs", "adam"], "essential"] = "lbfgs"
    learning_rate: Annotated[float, Range(0), "essential"] = 0.05
    precision: Literal["f32"] = "f32"

    monitor: ClassVar[str] = "loss"
    monitor_mode: ClassVar[Literal["max", "min"]] = "min"
    defaults: ClassVar[dict[str, Any]] = {"steps": 200, "batch_size": 1, "eval_every": 20, "select": "last"}

    def arguments(self, run: Run) -> dict[str, Any]:
        """Load the network, and build the optimizer: L-BFGS of memory 10 with a zoom line search, or Adam."""
        if run.flags.optimizer == "lbfgs":
            optimizer = optax.lbfgs(memory_size=10)
        else:
            optimizer = optax.with_extra_args_support(optax.adam(run.flags.learning_rate))
        return {**super().arguments(run), "optimizer": optimizer}

    def num_images(self, run: Run) -> int:
        """Count the images that are optimized.

        Returns:
          One, unless a page says otherwise.
        """
        return 1

    def report_hooks(self, run: Run, build: Callable[[Run], Learner]) -> list:
        """Film the images while they are optimized."""
        from dlcore.report.filming import film_hooks
        from dlcore.report.generative import picture_grid

        count = self.num_images(run)
        title = "The image by step" if count == 1 else "The images by step"
        batch = {"index": np.arange(count, dtype=np.int32)}
        return film_hooks(build, run, batch, lambda outputs: picture_grid(outputs["image"], min(count, 5)), title)


def average_pooling(model: nn.Module) -> nn.Module:
    """Let a trained network pool by the mean in place of the maximum.

    Args:
      model: network.

    Returns:
      The network; unchanged if it has no field `pooling`.
    """
    return model.clone(pooling="avg") if hasattr(model, "pooling") else model


def check_batch_size(batch_size: int, num_images: int) -> None:
    """Check that all images are optimized: those of the first batch are.

    Args:
      batch_size: of training.
      num_images: number of images that the data ask for.
    """
    if batch_size < num_images:
        raise ValueError(f"batch_size={batch_size}: {num_images} images are optimized; allowed: at least {num_images}")


def image_panels(context: ReportContext, images: dict[str, np.ndarray], title: str, subtitle: str = "") -> list[Panel]:
    """Show images by name, and the curves.

    Args:
      images: name -> [H, W, 3] uint8 or float in [0, 1].
      title: title of the images' panel.
      subtitle: a line under it.
    """
    from dlcore.report.curves import curves
    from dlcore.report.pictures import examples, to_uint8

    pictures = np.stack([to_uint8(np.asarray(image)[None])[0] for image in images.values()])
    side_by_side = examples(pictures, list(images), title, subtitle, count=len(pictures))
    return [side_by_side._replace(half=len(pictures) <= _FEW), curves(context.history)]
