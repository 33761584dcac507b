"""Encoders: train an encoder without labels, and measure its features by them.

measures=[FeatureMeasures(bank_size=5000, knn_k=20, fine_tune=(0.01, 0.1), embeddings=True)]

One protocol evaluates the encoder of every technique on downstream tasks, beside the untrained encoder:

    knn              weighted k-NN: --knn_k neighbors among --bank_size labeled features, temperature 0.07
    probe            logistic regression on the same features
    rank, alpha      effective rank (RankMe) and slope of the spectrum of the test features: whether they collapse
    fine_tune_N      fine-tuning of all weights with N labels, one N for each value of --fine_tune
    supervised       the same encoder, trained only on the bank's labels (with --supervised; slow)

The learner gets no labels. Its `predict` returns `features` and `untrained`, and its state has a `--model` under
"backbone"; the network says how it is applied, by its method `encoder`.
"""

import dataclasses
from typing import Annotated, Any, ClassVar

from dlcore.data.images import Views
from dlcore.data.known_datasets import TRAIN_SIZES
from dlcore.data.splits import Splits
from dlcore.evaluators.fine_tuning import Recipe, fine_tuning, label_counts
from dlcore.experiment.parts import Run
from dlcore.learner import CheckedRecord, Evaluator, Learner, Range
from dlcore.report.context import ReportContext
from dlcore.self_supervised.shown_views import view_panels
from dlcore.setting import LARGEST, FlagError

__all__ = ["ClipFeatureMeasures", "FeatureMeasures", "remove_labels"]

TEMPERATURE = 0.07
"""Temperature of the weighted k-NN."""


@dataclasses.dataclass(frozen=True)
class FeatureMeasures(CheckedRecord):
    """The protocol that measures an encoder by labels that it did not learn from, beside the untrained encoder.

    Args:
      bank_size: labeled training images for k-NN and the probe
      knn_k: neighbors of k-NN
      fine_tune: labels to fine-tune with at the end: counts, or below 1 shares of the training images; empty for none
      fine_tune_steps: updates of a fine-tuning, of 64 images
      supervised: at the end, train the encoder by the bank's labels too, to compare
      embeddings: whether `predict` returns the `embeddings` of a head, which are evaluated too
      uses_labels: whether the learner gets the labels; no pretext does
    """

    bank_size: Annotated[int, Range(1)] = 5000
    knn_k: Annotated[int, Range(1)] = 20
    fine_tune: Annotated[tuple[float, ...], Range(0)] = (0.01, 0.1)
    fine_tune_steps: Annotated[int, Range(1)] = Recipe().steps
    supervised: bool = False
    embeddings: Annotated[bool, "no flag"] = False
    uses_labels: Annotated[bool, "no flag"] = False

    metric: ClassVar[str] = "knn"
    mode: ClassVar[str] = "max"

    def finish_data(self, splits: Splits, run: Run) -> Splits:
        """Check that there are labels to measure by; without any, the loss is the headline."""
        if splits.spec.get("num_classes", 0) > 1:
            bank = min(self.bank_size, len(splits.train))
            if "knn_k" in run.flags.given and self.knn_k > bank:
                raise FlagError(f"--knn_k={self.knn_k}: more than the bank has; allowed: 1 to {bank}, see --bank_size")
            return splits
        message = "the images have no labels: no k-NN, no probe and no fine-tuning; the loss is the measure"
        return splits._replace(spec={**splits.spec, "headline": "loss"}, notes=(*splits.notes, message))

    def check(self, run: Run) -> None:
        """Check that a well-known data set has as many images as the labels that `fine_tune` requests."""
        self.counts(TRAIN_SIZES.get(run.parts.data.dataset, LARGEST[int]), 1)

    def wrap(self, learner: Learner, run: Run) -> Learner:
        """Remove the labels from the learner's batches, unless the technique uses them."""
        return learner if self.uses_labels else remove_labels(learner)

    def messages(self, run: Run, splits: Splits) -> list[str]:
        """Describe the evaluation protocol."""
        return [self.protocol(splits)] if _has_labels(splits) else []

    def encoder(self, run: Run) -> Any:
        """Describe the encoder in the learner's state, for fine-tuning."""
        return run.parts.network.encoder(run)

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the protocol's evaluators: k-NN at each validation, all of them at the end.

        Returns:
          Evaluators of the accuracies `knn` and `knn_untrained`; on "test" also of `probe`, `probe_untrained`,
          `fine_tune_N` and `fine_tune_N_untrained`, and with `supervised` of the supervised encoder. Embeddings add
          `uniformity`, and on "test" `probe_head`. Images without labels have no accuracies. All have the `rank` and
          the `alpha` of the features' spectrum.
        """
        from dlcore.data.bank_and_queries import bank_and_queries
        from dlcore.evaluators.feature_rank import feature_rank
        from dlcore.evaluators.knn import knn
        from dlcore.evaluators.linear_probe import linear_probe
        from dlcore.evaluators.uniformity import uniformity

        queries = getattr(splits, split)
        source = bank_and_queries(splits.train, queries, self.bank_size, run.seed)
        collapse = [
            *([uniformity(source)] if self.embeddings else []),
            feature_rank(source),
            feature_rank(source, key="untrained", suffix="_untrained"),
            *([feature_rank(source, key="embeddings", suffix="_head")] if self.embeddings else []),
        ]
        if not _has_labels(splits):
            return collapse
        k = min(self.knn_k, self.bank_size, len(splits.train))
        measures = [
            knn(source, k=k, temperature=TEMPERATURE),
            knn(source, k=k, temperature=TEMPERATURE, key="untrained", name="knn_untrained"),
            *collapse,
        ]
        if split == "valid":
            return measures
        measures += [linear_probe(source), linear_probe(source, key="untrained", name="probe_untrained")]
        if self.embeddings:
            measures.append(linear_probe(source, key="embeddings", name="probe_head"))
        counts = self.counts(len(splits.train), run.facts.num_classes)
        if counts or self.supervised:
            tuning = fine_tuning(
                source,
                splits.train,
                queries,
                encoder=self.encoder(run),
                counts=counts,
                num_classes=run.facts.num_classes,
                recipe=Recipe(steps=self.fine_tune_steps),
                supervised=min(self.bank_size, len(splits.train)) if self.supervised else 0,
                k=k,
                seed=run.seed,
            )
            measures.append(tuning)
        return measures

    def counts(self, train_size: int, num_classes: int) -> tuple[int, ...]:
        """Compute the numbers of labels that `fine_tune` requests.

        Args:
          train_size: number of training images.
          num_classes: number of classes.

        Returns:
          The numbers, in ascending order.
        """
        try:
            return label_counts(self.fine_tune, train_size, num_classes)
        except ValueError as error:
            raise FlagError(f"--{error}") from None

    def panels(self, context: ReportContext, run: Run) -> list:
        """Show the results, the pretext, nearest neighbors, a 2-D projection of the features, and the curves."""
        from dlcore.report import self_supervised as report
        from dlcore.report.curves import curves
        from dlcore.report.triage import triage_panels

        data = run.parts.data
        augmentation = getattr(data, "augmentation", None)
        pretext = view_panels(context, augmentation.build(run.facts)) if isinstance(augmentation, Views) else []
        for pretext_panels in run.parts.having("pretext_panels"):
            pretext += pretext_panels(context, run)
        names, features = context.spec["class_names"], context.outputs["features"]
        test, labels = context.data.test.arrays["image"], context.data.test.arrays["label"]
        pictures = data.pictures_of(test) if hasattr(data, "pictures_of") else test
        tables = []
        if _has_labels(context.data):
            caption = f"Accuracy on the test split. {self.protocol(context.data)}"
            tables = [report.accuracy_table(context.numbers, caption)]
        return [
            *tables,
            report.rank_table(context.numbers),
            *pretext,
            report.nearest_neighbors(pictures, labels, features, names),
            report.feature_plane(features, labels, names),
            *triage_panels([{k: v for k, v in row.items() if k != "accuracy"} for row in context.history], floor=None),
            curves(context.history),
        ]

    def protocol(self, splits: Splits) -> str:
        """Describe the protocol in a sentence."""
        size = len(splits.train)
        bank, counts = min(self.bank_size, size), self.counts(size, splits.spec["num_classes"])
        numbers = " and ".join(f"{count:,}" for count in counts)
        length = f"{self.fine_tune_steps:,} steps of {Recipe().batch_size} images"
        tuned = f"; fine-tuning with {numbers} labels, {length}" if counts else ""
        return (
            f"k-NN with k = {min(self.knn_k, bank)} and temperature {TEMPERATURE}, linear probe: by the labels of "
            f"{bank:,} training images{tuned}; each beside the untrained encoder. "
            f"The learner gets {'the labels of all training images' if self.uses_labels else 'no label'}."
        )


@dataclasses.dataclass(frozen=True)
class ClipFeatureMeasures(FeatureMeasures):
    """The protocol that measures an encoder of clips.

    Args:
      fine_tune: labels to fine-tune with at the end: counts, or below 1 shares of the training clips; empty for none
    """

    fine_tune: Annotated[tuple[float, ...], Range(0)] = ()


def remove_labels(learner: Learner) -> Learner:
    """Remove the labels from every batch of a learner; evaluators still get them.

    Args:
      learner: learner that makes its own targets.

    Returns:
      The learner, none of whose functions gets `label`.
    """

    def without(batch: Any) -> Any:
        return {name: rows for name, rows in batch.items() if name != "label"}

    def init(rng: Any, batch: Any) -> Any:
        return learner.init(rng, without(batch))

    def loss(params: Any, state: Any, batch: Any) -> Any:
        return learner.loss(params, state, without(batch))

    def classes(state: Any, batch: Any) -> dict:
        return {n: count for n, count in learner.classes(state, without(batch)).items() if n != "label"}

    return learner._replace(
        init=init,
        update=lambda state, batch: learner.update(state, without(batch)),
        evaluate=lambda state, batch: learner.evaluate(state, without(batch)),
        predict=lambda state, batch: learner.predict(state, without(batch)),
        loss=None if learner.loss is None else loss,
        classes=None if learner.classes is None else classes,
    )


def _has_labels(splits: Splits) -> bool:
    return splits.spec["num_classes"] > 1
