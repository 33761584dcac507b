"""Encoders: train an encoder without labels, and measure its features by them.

experiment = Experiment(
    __file__, __doc__, simclr.learner, task=TwoViews(), optimizer=AdamW(weight_decay=1e-4), defaults={"steps": 400}
)

One protocol evaluates the encoder of every technique on downstream tasks, beside the untrained encoder:

    knn              weighted k-NN: --knn_k neighbors among --bank_size labeled features, temperature 0.07
    probe            logistic regression on the same features
    rank, alpha      effective rank (RankMe) and slope of the spectrum of the test features: whether they collapse
    fine_tune_N      fine-tuning of all weights with N labels, one N for each value of --fine_tune
    supervised       the same encoder, trained only on the bank's labels (with --supervised; slow)

The learner gets no labels. Its `predict` returns `features` and `untrained`, and its state has a `--model` under
"backbone"; a task with another encoder has its own method `encoder`.
"""

import dataclasses
from typing import Annotated, Any, ClassVar

from dlcore.evaluators.fine_tuning import Recipe, fine_tuning, label_counts
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import LARGEST, FlagError, Setting
from dlcore.experiment.splits import Splits
from dlcore.experiment.task import Task
from dlcore.kits.images.known_datasets import TRAIN_SIZES
from dlcore.kits.self_supervised import encoders
from dlcore.learner import Evaluator, Learner, Range
from dlcore.modes.report_context import ReportContext
from dlcore.weights.start import MODULES, Start, start_backbone

__all__ = ["SMOKE", "Encoders", "remove_labels"]

SMOKE = {
    "model.stages": (1,),
    "model.width": 4,
    "steps": 2,
    "batch_size": 32,
    "eval_every": 2,
    "eval_batch_size": 100,
    "bank_size": 100,
    "knn_k": 5,
    "fine_tune": (),
    "fine_tune_steps": 1,
}
"""Settings of --smoke."""

TEMPERATURE = 0.07
"""Temperature of the weighted k-NN."""


@dataclasses.dataclass(frozen=True)
class Encoders(Task):
    """An encoder that is trained without labels, and measured by them; a subclass has the data.

    Args:
      bank_size: labeled training images for k-NN and the probe
      knn_k: neighbors of k-NN
      fine_tune: labels to fine-tune with at the end: counts, or below 1 shares of the training images; empty for none
      fine_tune_steps: updates of a fine-tuning, of 64 images
      supervised: at the end, train the encoder by the bank's labels too, to compare
    """

    bank_size: Annotated[int, Range(1)] = 5000
    knn_k: Annotated[int, Range(1)] = 20
    fine_tune: Annotated[tuple[float, ...], Range(0)] = (0.01, 0.1)
    fine_tune_steps: Annotated[int, Range(1)] = Recipe().steps
    supervised: bool = False

    model: ClassVar[str | None] = "resnet8_cifar"
    monitor = headline = "knn"
    defaults: ClassVar[dict[str, Any]] = {"select": "last"}
    embeddings: ClassVar[bool] = False
    """Whether `predict` returns the `embeddings` of a head, which are evaluated too."""
    uses_labels: ClassVar[bool] = False
    """Whether the learner gets the labels; no pretext does."""

    encoder = staticmethod(encoders.encoder)

    def settings(self) -> dict[str, Setting]:
        """Collect the flags of the task, and `--init_from` where there is a `--model`."""
        return {**super().settings(), **({} if self.model is None else MODULES)}

    def check(self, flags: Flags) -> None:
        """Check that a well-known data set has as many images as the labels that `--fine_tune` requests."""
        # Clips have no --dataset.
        _fine_tune_counts(flags, TRAIN_SIZES.get(flags.get("dataset"), LARGEST[int]), 1)

    def wrap(self, learner: Learner, setup: Setup) -> Learner:
        """Remove the labels from the learner's batches, unless the technique uses them."""
        return learner if self.uses_labels else remove_labels(learner)

    def start(self, setup: Setup) -> Start | None:
        """Start the backbone from the weights of `--init_from`.

        Raises:
          ValueError: when applied or checked: there is no such backbone, or it does not fit.
        """
        return start_backbone(setup)

    def notes(self, setup: Setup, splits: Splits) -> list[str]:
        """Describe the evaluation protocol."""
        return [_protocol(setup.flags, splits, self.uses_labels)] if _has_labels(splits) else []

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
        """Build the protocol's evaluators: k-NN at each validation, all of them at the end.

        Returns:
          Evaluators of the accuracies `knn` and `knn_untrained`; on "test" also of `probe`, `probe_untrained`,
          `fine_tune_N` and `fine_tune_N_untrained`, and with `--supervised` of the supervised encoder. Embeddings add
          `uniformity`, and on "test" `probe_head`. Images without labels have no accuracies. All have the `rank` and
          the `alpha` of the features' spectrum.
        """
        from dlcore.data.bank_and_queries import bank_and_queries
        from dlcore.evaluators.feature_rank import feature_rank
        from dlcore.evaluators.knn import knn
        from dlcore.evaluators.linear_probe import linear_probe
        from dlcore.evaluators.uniformity import uniformity

        flags, queries = setup.flags, getattr(splits, split)
        source = bank_and_queries(splits.train, queries, flags.bank_size, flags.seed)
        collapse = [
            *([uniformity(source)] if self.embeddings else []),
            feature_rank(source),
            feature_rank(source, key="untrained", suffix="_untrained"),
            *([feature_rank(source, key="embeddings", suffix="_head")] if self.embeddings else []),
        ]
        if not _has_labels(splits):
            return collapse
        k = min(flags.knn_k, flags.bank_size, len(splits.train))
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
        counts = _fine_tune_counts(flags, len(splits.train), setup.spec["num_classes"])
        if counts or flags.supervised:
            tuning = fine_tuning(
                source,
                splits.train,
                queries,
                encoder=self.encoder(setup),
                counts=counts,
                num_classes=setup.spec["num_classes"],
                recipe=_recipe(flags),
                supervised=min(flags.bank_size, len(splits.train)) if flags.supervised else 0,
                k=k,
                seed=flags.seed,
            )
            measures.append(tuning)
        return measures

    def pretext_panels(self, context: ReportContext) -> list:
        """Show what the technique solves in training.

        Returns:
          Report panels; none here.
        """
        return []

    def pictures_of(self, examples: Any) -> Any:
        """Draw the examples of the data for the report.

        Args:
          examples: [N, ...], their `image`.

        Returns:
          [N, h, w, C]; the examples, where they are images.
        """
        return examples

    def panels(self, context: ReportContext) -> list:
        """Show the results, the pretext, nearest neighbors, a 2-D projection of the features, and the curves."""
        from dlcore.report import self_supervised as report
        from dlcore.report.curves import curves
        from dlcore.report.triage import triage_panels

        flags, names, features = context.flags, context.spec["class_names"], context.outputs["features"]
        test, labels = context.data.test.arrays["image"], context.data.test.arrays["label"]
        tables = []
        if _has_labels(context.data):
            caption = f"Accuracy on the test split. {_protocol(flags, context.data, self.uses_labels)}"
            tables = [report.accuracy_table(context.numbers, caption)]
        return [
            *tables,
            report.rank_table(context.numbers),
            *self.pretext_panels(context),
            report.nearest_neighbors(self.pictures_of(test), labels, features, names),
            report.feature_plane(features, labels, names),
            *triage_panels([{k: v for k, v in row.items() if k != "accuracy"} for row in context.history], floor=None),
            curves(context.history),
        ]


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


def _fine_tune_counts(flags: Flags, train_size: int, num_classes: int) -> tuple[int, ...]:
    """Compute the numbers of labels that `--fine_tune` requests, in ascending order."""
    try:
        return label_counts(flags.fine_tune, train_size, num_classes)
    except ValueError as error:
        raise FlagError(f"--{error}") from None


def _has_labels(splits: Splits) -> bool:
    return splits.spec["num_classes"] > 1


def _recipe(flags: Flags) -> Recipe:
    return Recipe(steps=flags.fine_tune_steps)


def _protocol(flags: Flags, splits: Splits, uses_labels: bool) -> str:
    size = len(splits.train)
    bank, counts = min(flags.bank_size, size), _fine_tune_counts(flags, size, splits.spec["num_classes"])
    numbers = " and ".join(f"{count:,}" for count in counts)
    recipe = _recipe(flags)
    length = f"{recipe.steps:,} steps of {recipe.batch_size} images"
    tuned = f"; fine-tuning with {numbers} labels, {length}" if counts else ""
    return (
        f"k-NN with k = {min(flags.knn_k, bank)} and temperature {TEMPERATURE}, linear probe: by the labels of "
        f"{bank:,} training images{tuned}; each beside the untrained encoder. "
        f"The learner gets {'the labels of all training images' if uses_labels else 'no label'}."
    )
