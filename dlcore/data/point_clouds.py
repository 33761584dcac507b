"""Point clouds with one class each, as a data set of an experiment: solids that a program draws, or ModelNet."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np

from dlcore.data.carving import split_validation
from dlcore.data.shapes3d import modelnet
from dlcore.data.solid_meshes import solid_clouds
from dlcore.data.splits import Splits
from dlcore.learner import CheckedRecord, Range

__all__ = ["PointClouds", "histogram_vote"]


@dataclasses.dataclass(frozen=True)
class PointClouds(CheckedRecord):
    """Point clouds with one class each: solids that a program draws, or ModelNet.

    Args:
      data_dir: folder of ModelNet; by default solids are drawn
      num_clouds: solids to train on, and a quarter as many to test on
      valid_fraction: share of the training clouds held out for validation
      drawn_points: points of a drawn solid
    """

    data_dir: Annotated[str | None, "essential"] = None
    num_clouds: Annotated[int, Range(32)] = 1600
    valid_fraction: Annotated[float, Range(0.001, 0.9)] = 0.1
    drawn_points: Annotated[int, Range(1), "no flag"] = 256

    reads_files: ClassVar[bool] = True

    def with_flags(self, flags: Any) -> "PointClouds":
        """Replace the fields by their flags; solids have as many points as the technique takes."""
        fields = {name: flags[name] for name in ("data_dir", "num_clouds", "valid_fraction")}
        return PointClouds(**fields, drawn_points=flags["num_points"] or self.drawn_points)

    def load(self, seed: int = 0) -> Splits:
        """Draw solids or read ModelNet, and measure the histograms' vote on the test split.

        Args:
          seed: seed of the held-out validation clouds.
        """
        if self.data_dir is None:
            counts = self.num_clouds, self.num_clouds // 4
            train, test = (solid_clouds(count, part, self.drawn_points) for part, count in enumerate(counts))
        else:
            train, test = (modelnet(self.data_dir, split) for split in ("train", "test"))
        train, valid = split_validation(train, self.valid_fraction, seed)
        vote = histogram_vote(train.arrays, test.arrays)
        spec = {
            "dataset": train.name.partition("/")[0],
            "class_names": list(train.class_names),
            "points_shape": list(train.arrays["points"].shape[1:]),
            "trivial": {"accuracy": (vote, "3 nearest neighbors by 40 histogram numbers")},
        }
        return Splits(train, valid, test, spec, (f"3 nearest neighbors by 40 histogram numbers: accuracy {vote:.4f}",))


def histogram_vote(
    train: Mapping[str, np.ndarray], test: Mapping[str, np.ndarray], bins: int = 10, neighbors: int = 3
) -> float:
    """Compute the accuracy of the nearest neighbors by histograms of x, y, z and the radius.

    Args:
      train: `points [N, P, 3]` in [-1, 1] and `label [N]`.
      test: `points [M, P, 3]` and `label [M]`.
      bins: bins of each histogram.
      neighbors: number of nearest neighbors that vote.

    Returns:
      The share of `test` that is right, in [0, 1].
    """

    def histograms(points):
        points = np.asarray(points, np.float32)
        values = np.concatenate([points, np.linalg.norm(points, axis=-1, keepdims=True)], -1)
        low = np.array([-1, -1, -1, 0], np.float32)
        index = ((values - low) / (1 - low) * bins).astype(int).clip(0, bins - 1)
        return (index[..., None] == np.arange(bins)).mean(1).reshape(len(points), -1)

    gallery, asked = histograms(train["points"]), histograms(test["points"])
    correct = 0
    for row, label in zip(asked, test["label"], strict=True):
        near = np.argsort(np.square(gallery - row).sum(1), kind="stable")[:neighbors]
        correct += np.bincount(train["label"][near]).argmax() == label
    return float(correct / len(asked))
