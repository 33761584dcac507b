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
from typing import Annotated, Any

import numpy as np
from flax import linen as nn

from dlcore.data.one_photograph import check_batch_size
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.experiment.parts import Run
from dlcore.interpretability.unit_images import Unit, parse_unit
from dlcore.setting import Setting, field_settings
from dlcore.weights.network import load_network, measuring_network

__all__ = ["FrozenNetwork", "NetworkClasses", "NetworkUnits", "average_pooling"]


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


def average_pooling(model: nn.Module) -> nn.Module:
    """Let a trained network pool by the mean in place of the maximum.

    Args:
      model: network.

    Returns:
      The network; unchanged if it has no field `pooling`.
    """
    return model.clone(pooling="avg") if hasattr(model, "pooling") else model
