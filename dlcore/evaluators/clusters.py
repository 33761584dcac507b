"""Clusters of features as the classes of images: how many, when images are clustered, and how well classes agree."""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from dlcore.classic_ml.kmeans import kmeans
from dlcore.data.splits import Splits
from dlcore.experiment import PositiveInt
from dlcore.experiment.parts import Run
from dlcore.learner import Evaluator, root_key
from dlcore.metrics.clustering import normalized_mutual_information
from dlcore.report.context import ReportContext
from dlcore.self_supervised.deep_cluster import Reclustering
from dlcore.setting import FlagError, Setting
from dlcore.weights.start import MODULES, Start, start_backbone

__all__ = ["ClusterAgreement", "Clusters", "num_clusters"]

SHEETS = 16
"""Clusters in the report, those with most test images."""


def num_clusters(run: Run) -> int:
    """Count the clusters: those asked for, or half as many as training images where the default exceeds these.

    Returns:
      Their number.
    """
    count, size = run.parts.technique.keywords["num_clusters"], run.facts.train_size
    return count if count <= size or "num_clusters" in run.flags.given else max(2, size // 2)


@dataclasses.dataclass(frozen=True)
class Clusters:
    """Clusters of the features of the training images, found before the first step and at each validation but the last.

    Args:
      cluster_dims: principal components of the features that are clustered
    """

    cluster_dims: PositiveInt = 64

    settings: ClassVar[dict[str, Setting]] = MODULES

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique `num_clusters` and `train_size`."""
        count, size = num_clusters(run), run.facts.train_size
        if count > size:
            raise FlagError(f"--num_clusters={count}: more than examples; allowed: at most {size}")
        return {"num_clusters": count, "train_size": size}

    def messages(self, run: Run, splits: Splits) -> list[str]:
        """Say where there are fewer clusters than by default."""
        count = num_clusters(run)
        few = f"{count} clusters, for there are {len(splits.train)} training images"
        return [few] if count < run.parts.technique.keywords["num_clusters"] else []

    def hooks(self, run: Run) -> list:
        """Build the hook that clusters the training images."""
        train = run.parts.data.load(run.seed).train
        labels = np.asarray(train.arrays["label"])
        return [ShownClusters(run.build(), train, num_clusters(run), run.steps, self.cluster_dims, labels)]

    def start(self, run: Run) -> Start:
        """Start the backbone from the weights of `--init_from`, where there are some, and cluster its features."""
        begin, weights = self.hooks(run)[0].begin, start_backbone(run)
        if weights is None:
            return Start(begin, lambda state: None)
        return Start(lambda state: begin(weights.replace(state)), weights.check)


class ShownClusters(Reclustering):
    """Clusterings, with their panels in the report."""

    def panels(self, context: ReportContext) -> list:
        """Show how well each clustering agrees with the classes, and test images of a few clusters."""
        from dlcore.report import self_supervised as report
        from dlcore.report.tables import table

        keys = {"nmi": "NMI to the classes", "kept": "NMI to the clustering before", "smallest": "smallest cluster"}
        rows = [
            {"step": step, **{title: _shown(self.memory[name][i]) for name, title in keys.items()}}
            for i, step in enumerate(self.memory["step"])
        ]
        test, predicted = context.data.test.arrays, context.outputs["guess"]
        sheets = report.cluster_sheets(test["image"], predicted, test["label"], context.spec["class_names"], SHEETS)
        return [table(rows, "Clusterings of the training images"), sheets]


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


class ClusterAgreement:
    """The mutual information of classes and clusters, `nmi`; on the test split also that of clusters of pixels."""

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluator; none for images without labels."""
        count, seed = num_clusters(run), run.seed

        def add(acc: list | None, outputs: dict, rows: dict) -> list:
            return [*(acc or []), (outputs["guess"], rows["label"], rows["image"].reshape(len(rows["image"]), -1))]

        def finish(acc: list) -> dict[str, float]:
            predicted, label, pixels = (np.concatenate(parts) for parts in zip(*acc, strict=True))
            measures = {"nmi": normalized_mutual_information(label, predicted)}
            if split != "valid":
                few = min(count, len(pixels))
                plain = kmeans(root_key(seed), pixels.astype(np.float32), few, restarts=1, max_iterations=50)
                measures["nmi_pixels"] = normalized_mutual_information(label, np.asarray(plain.labels))
            return measures

        if run.facts.num_classes == 1:
            return []
        return [Evaluator(add, finish, None, ("nmi",) if split == "valid" else ("nmi", "nmi_pixels"))]
