"""Parts of pages whose images' pixels descend on an objective of a frozen network.

experiment = Experiment(
    __file__,
    __doc__,
    technique=feature_inversion.learner,
    data=Photograph("flower", height=96),
    network=FrozenNetwork(),
    optimizer=PixelOptimizer("lbfgs"),
    length=Steps(200, batch_size=1, eval_every=20, select="last"),
    measures=[Measure("loss", "min", headline="pixels")],
    report=[panels, ImageFilm()],
)
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.data.sample_images import sample_image
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.experiment.parts import Run
from dlcore.experiment.setting import Setting, field_settings
from dlcore.interpretability.unit_images import Unit, parse_unit, unit_activation
from dlcore.learner import Evaluator, Range, check_record, root_key
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.weights.network import load_network, measuring_network

__all__ = [
    "FrozenNetwork",
    "ImageFilm",
    "NetworkClasses",
    "NetworkUnits",
    "Photograph",
    "PixelOptimizer",
    "UnitActivation",
    "average_pooling",
    "check_batch_size",
    "image_panels",
]

_FEW = 4
"""Largest number of images in a half-width panel beside their film."""


@dataclasses.dataclass(frozen=True)
class FrozenNetwork:
    """A trained network, by which a technique makes images.

    Args:
      network: a run's folder, a folder of `dlcore convert` or a packed .npz; by default the small VGG that dlcore ships
      averages: whether the network pools by the mean, which gives smoother images
    """

    network: Annotated[str | None, "essential"] = None
    averages: Annotated[bool, "no flag"] = False

    @property
    def settings(self) -> dict[str, Setting]:
        """The flag `--network`, which says where its weights come from."""
        return {"network": field_settings(self)["network"]._replace(origin=measuring_network)}

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the network, and the statistics of the pixels that it was trained on."""
        network = load_network(self.network)
        return {
            "model": average_pooling(network.model) if self.averages else network.model,
            "variables": network.variables,
            "mean": network.mean,
            "std": network.std,
        }


@dataclasses.dataclass(frozen=True)
class PixelOptimizer:
    """The optimizer of pixels: L-BFGS of memory 10 with a zoom line search, or Adam.

    Args:
      optimizer: optimizer of the pixels; lbfgs searches for its own step size
      learning_rate: learning rate of adam, constant
      precision: compute precision; this experiment has no other
    """

    optimizer: Annotated[Literal["lbfgs", "adam"], "essential"] = "lbfgs"
    learning_rate: Annotated[float, Range(0), "essential"] = 0.05
    precision: Literal["f32"] = "f32"

    parameters: ClassVar[tuple[str, ...]] = ("optimizer",)
    """Parameters of the technique that take the optimizer."""

    def __post_init__(self):
        check_record(self)

    def build(self, steps: int, steps_per_epoch: float | None = None) -> optax.GradientTransformationExtraArgs:
        """Build the optimizer.

        Args:
          steps: not used; the rate is constant.
          steps_per_epoch: not used.

        Returns:
          An optax transformation.
        """
        if self.optimizer == "lbfgs":
            return optax.lbfgs(memory_size=10)
        return optax.with_extra_args_support(optax.adam(self.learning_rate))

    def rate_of_step(self, steps: int, steps_per_epoch: float | None = None) -> None:
        """Return None: the log has no learning rate."""


@dataclasses.dataclass(frozen=True)
class ImageFilm:
    """A film of the images while they are optimized.

    Args:
      count: number of images of a run; by default one.
    """

    count: Callable[[Run], int] = lambda run: 1

    def report_hooks(self, run: Run) -> list:
        """Film the images."""
        from dlcore.report.filming import film_hooks
        from dlcore.report.generative import picture_grid

        count = self.count(run)
        title = "The image by step" if count == 1 else "The images by step"
        batch = {"index": np.arange(count, dtype=np.int32)}
        return film_hooks(run, batch, lambda outputs: picture_grid(outputs["image"], min(count, 5)), title)


@dataclasses.dataclass(frozen=True)
class Photograph:
    """A photograph that is reconstructed.

    Args:
      image: china, flower or an image file
      height: height of the image in pixels
    """

    image: str = "flower"
    height: Annotated[int, Range(16)] = 96

    def __post_init__(self):
        check_record(self)

    def load(self) -> Splits:
        """Read the photograph."""
        image = sample_image(self.image, self.height)
        source = Source({"image": image[None]}, name="an image")
        return Splits(source, source, source, {"dataset": self.image, "shape": list(image.shape)})


@dataclasses.dataclass(frozen=True)
class NetworkClasses:
    """The classes of a network, an image of each.

    Args:
      network: the network, as `FrozenNetwork` has it
      classes: names of classes; by default all
    """

    network: Annotated[str | None, "essential"] = None
    classes: Annotated[tuple[str, ...] | None, "if changed"] = None

    def load(self, batch_size: int = 10) -> Splits:
        """List the classes.

        Args:
          batch_size: images that are optimized at once; all of them.

        Returns:
          Splits of `label`.
        """
        names = load_network(self.network).class_names
        classes = self.classes or names
        if unknown := [name for name in classes if name not in names]:
            raise ValueError(f"classes={unknown[0]!r}: unknown; allowed: {', '.join(names[:20])}")
        check_batch_size(batch_size, len(classes))
        labels = np.array([names.index(name) for name in classes], np.int32)
        source = Source({"label": labels}, class_names=names, name="classes")
        return Splits(source, source, source, {"dataset": "classes", "class_names": list(classes)})


@dataclasses.dataclass(frozen=True)
class NetworkUnits:
    """Units of a network, an image of each.

    Args:
      units: units, each LAYER:CHANNEL (the mean over its map) or LAYER:CHANNEL@ROW:COLUMN
    """

    units: Annotated[tuple[str, ...], "essential"]

    @property
    def parsed(self) -> tuple[Unit, ...]:
        """The units as records."""
        return tuple(parse_unit(text, "units") for text in self.units)

    def load(self, batch_size: int = 128) -> Splits:
        """Number the units.

        Args:
          batch_size: images that are optimized at once; all of them.

        Returns:
          Splits of `unit`.
        """
        check_batch_size(batch_size, len(self.units))
        source = Source({"unit": np.arange(len(self.parsed), dtype=np.int32)}, name="units")
        return Splits(source, source, source, {"dataset": "units", "units": list(self.units)})

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the units."""
        return {"units": self.parsed}


class UnitActivation:
    """The activation of units by their images, and at the end by noise of the strength that the images start from."""

    metric = "activation"
    mode = "max"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure at the end the activation of each unit by noise."""
        if split != "test":
            return []

        def finish(numbers):
            network, values = load_network(run.parts.network.network), run.parts.technique.keywords
            shape = (100, values["side"], values["side"], len(network.mean))
            noise = jnp.clip(network.mean + values["noise"] * jax.random.normal(root_key(0), shape), 0, 1)
            x = (noise - network.mean) / network.std
            maps = jax.jit(lambda v, x: network.model.apply(v, x, method="features"))(network.variables, x)
            units = run.parts.data.parsed
            return {"activation_noise": float(np.mean([unit_activation(maps, units[k]).mean() for k in numbers]))}

        def add(numbers, outputs, rows):
            return [*(numbers or []), *rows["unit"].tolist()]

        return [Evaluator(add, finish, names=("activation_noise",))]


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
