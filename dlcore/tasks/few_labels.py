"""FewLabels: semi-supervised learning from few labeled images beside many unlabeled ones.

experiment = Experiment(
    __file__, __doc__, mixmatch.learner, task=FewLabels(unlabeled_ratio=4), optimizer=AdamW(weight_decay=0.01)
)

`--label_seed` samples `--labels_per_class` labeled images of each class; the unlabeled stream is the whole training
split, including the labeled images, or the images of `--unlabeled_dir`. `accuracy` is the technique's,
`accuracy_supervised` that of the supervised baseline, and `gain` the difference; `--twin=false` trains the technique
alone, in about half of the time. The validation split keeps 10 labeled images of each class: a large one would not be
realistic with few labels.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from dlcore.data.augment import compose, cutout
from dlcore.data.few_labels import few_labels, two_streams
from dlcore.data.image_classification import unlabeled_source
from dlcore.data.source import Source
from dlcore.data.stratified import stratified_sample
from dlcore.data.workers import Workers
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError
from dlcore.experiment.splits import Spec, Splits
from dlcore.generative.two_players import PlayerState
from dlcore.kits.images import classifier_panels, labeled_images
from dlcore.kits.training import optimizer
from dlcore.learner import Learner, ModelState, Range
from dlcore.modes.report_context import ReportContext
from dlcore.optim.ema import init_average
from dlcore.semi_supervised.twin import TwinState, add_twin
from dlcore.semi_supervised.two_streams import averaging, supervised_only, two_stream_learner
from dlcore.tasks.labeled_images import LabeledImages
from dlcore.weights.start import CLASSIFIER, Start, start_classifier

__all__ = ["SMOKE", "FewLabels", "StrongViews"]

SMOKE = {"model.stages": (1,), "model.width": 4, "steps": 2, "batch_size": 8, "eval_every": 2, "eval_batch_size": 500}
"""Settings of --smoke."""


@dataclasses.dataclass(frozen=True)
class FewLabels(LabeledImages):
    """A few labeled images of each class, and a stream of unlabeled ones beside them.

    Args:
      labels_per_class: labeled training images of each class; none takes all
      unlabeled_dir: a folder (or .zip) of images without labels; by default the training split serves, without its
        labels
      label_seed: random seed that chooses the labeled images; by default --seed
      unlabeled_ratio: unlabeled images for each labeled image of a batch
      valid_labels_per_class: labeled validation images of each class; none takes the whole split
      twin: also train the supervised baseline on the labeled images alone, which about doubles the time
    """

    labels_per_class: Annotated[int | None, Range(1), "essential"] = 4
    unlabeled_dir: Annotated[str | None, "if changed", "essential"] = None
    label_seed: Annotated[int | None, Range(0)] = None
    unlabeled_ratio: Annotated[int, Range(1), "essential"] = 1
    valid_labels_per_class: Annotated[int | None, Range(1)] = 10
    twin: Annotated[bool, "if changed"] = True

    model: ClassVar[str] = "resnet8_cifar"
    defaults: ClassVar[dict[str, Any]] = {
        "model.width": 16,
        "augment": "shift",
        "batch_size": 32,
        "eval_every": 100,
        "select": "last",
    }

    shared_settings = CLASSIFIER

    def data(self, flags: Flags) -> Splits:
        """Load two training streams, a small validation split and the whole test split."""
        splits, seed = labeled_images.data(flags), flags.seed if flags.label_seed is None else flags.label_seed
        labeled = unlabeled = splits.train
        if flags.labels_per_class is not None:
            labeled = few_labels(splits.train, flags.labels_per_class, seed)
        if flags.unlabeled_dir is not None:
            unlabeled = _unlabeled_images(flags, splits.spec["image_shape"])
        if "batch_size" in flags.given and flags.batch_size > len(labeled):
            raise FlagError(
                f"--batch_size={flags.batch_size}: more than the {len(labeled)} labeled images of "
                f"--labels_per_class={flags.labels_per_class}; allowed: at most {len(labeled)}"
            )
        explicit = flags.given & {"batch_size", "unlabeled_ratio"}
        if explicit and (count := flags.batch_size * flags.unlabeled_ratio) > len(unlabeled):
            raise FlagError(
                f"--unlabeled_ratio={flags.unlabeled_ratio}: {count} unlabeled images a step with "
                f"--batch_size={flags.batch_size}; allowed: at most {len(unlabeled)}, the unlabeled images"
            )
        valid, per_class = splits.valid, flags.valid_labels_per_class
        if per_class is not None:
            valid = stratified_sample(valid, min(per_class * splits.spec["num_classes"], len(valid)), seed)
        per_class = flags.labels_per_class
        few = "" if per_class is None else f", {per_class} of each class, drawn by label_seed {seed}"
        where = "the same among them" if flags.unlabeled_dir is None else f"of {flags.unlabeled_dir}"
        messages = (
            f"{len(labeled)} labeled images{few}; {len(unlabeled):,} unlabeled ones, {where}; {len(valid)} to validate",
            *(() if flags.unlabeled_dir is None else unlabeled.notes),
        )
        return splits._replace(
            train=two_streams(labeled, unlabeled),
            valid=valid,
            spec=splits.spec | {"unlabeled_size": len(unlabeled)},
            notes=(*splits.notes, *messages),
            batch_ratios={"unlabeled": flags.unlabeled_ratio},
        )

    def wrap(self, learner: Learner, setup: Setup) -> Learner:
        """Add the supervised baseline, with `--twin`."""
        if not setup.flags.twin:
            return learner
        decay = setup.flags.get("ema_decay")
        baseline = two_stream_learner(
            **LabeledImages.arguments(self, setup),
            optimizer=optimizer.build(setup),
            technique=supervised_only,
            teacher=None if decay is None else averaging(decay),
        )
        return add_twin(learner, baseline)

    def start(self, setup: Setup) -> Start | None:
        """Start the technique, its teacher and its baseline from the weights of `--init_from`."""
        classifier_start = start_classifier(setup)
        if classifier_start is None:
            return None

        def replace(state: Any) -> Any:
            if not isinstance(state, TwinState):
                return _with_weights(classifier_start, state)
            return TwinState.of(*(_with_weights(classifier_start, part) for part in state.states))

        def check(state: Any) -> None:
            classifier_start.check(_classifier_of(state.technique if isinstance(state, TwinState) else state))

        return Start(replace, check)

    def expected_loss(self, setup: Setup) -> float:
        """Compute the initial loss, log C, as a technique's unlabeled loss starts at 0; with the baseline 2 log C."""
        return (2 if setup.flags.twin else 1) * math.log(setup.spec["num_classes"])

    def panels(self, context: ReportContext) -> list:
        """Show the gain by unlabeled images, and the panels of a classifier."""
        from dlcore.report.semi_supervised import pseudo_label_table, twin_table

        state, gain = context.state, []
        if isinstance(state, TwinState):
            state, gain = state.replace(params=state.params["technique"]), [twin_table(context.numbers)]
        labeled = context._replace(data=context.data._replace(train=context.data.train["labeled"]), state=state)
        return [*gain, *pseudo_label_table(context.history), *classifier_panels.panels(labeled)]


@dataclasses.dataclass(frozen=True)
class StrongViews(FewLabels):
    """Few labels, with a weak and a strong view of each unlabeled image.

    Args:
      strong: strong augmentation of unlabeled images, before cutout
    """

    strong: Literal["rand_augment", "auto_augment", "none"] = "rand_augment"

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build what `FewLabels` does, and the strong view."""
        return {**super().arguments(setup), "strong": _strong_view(setup.flags, setup.spec)}


def _unlabeled_images(flags: Flags, shape: Sequence[int]) -> Source:
    """Read the images of `--unlabeled_dir` at the size and with the channels of the labeled ones."""
    height, width, channels = shape
    try:
        return unlabeled_source(
            flags.unlabeled_dir,
            (height, width),
            channels,
            skip_bad=flags.skip_bad,
            limit_bytes=int(flags.memory_limit * 2**30),
            workers=Workers(flags.workers, flags.decoder),
        )
    except FileNotFoundError as error:
        problem = f"--unlabeled_dir={flags.unlabeled_dir}: not found; allowed: a folder or .zip of images"
        raise FlagError(problem) from error


def _strong_view(flags: Flags, spec: Spec) -> Any:
    """Return the weak view, the operations of `--strong`, then cutout: `(key, normalized image) -> image`."""
    side = labeled_images.shorter_side(flags, spec)
    base = labeled_images.augmentation(flags.replace(augment="auto" if flags.strong == "none" else flags.strong), spec)
    erase = cutout(max(1, side // 2))
    return erase if base is None else compose(base, erase)


def _classifier_of(state: Any) -> Any:
    """Return the classifier's state: a GAN's discriminator, else the state itself."""
    if not isinstance(state, PlayerState):
        return state
    params, opt_state, model_state = (
        getattr(state, name)["discriminator"] for name in ("params", "opt_state", "model_state")
    )
    return ModelState(state.step, state.rng, params, opt_state, model_state)


def _with_weights(classifier_start: Start, state: Any) -> Any:
    """Return a state whose classifier has the weights; a teacher starts as the student."""
    classifier = classifier_start.replace(_classifier_of(state))
    weights = {"params": classifier.params, "model_state": classifier.model_state}
    if isinstance(state, PlayerState):
        replaced = {**weights, "opt_state": classifier.opt_state}
        classifier = state.replace(
            **{name: getattr(state, name) | {"discriminator": value} for name, value in replaced.items()}
        )
    if classifier.teacher is None:
        return classifier
    return classifier.replace(teacher=init_average(weights))
