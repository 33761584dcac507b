"""Shared by self-supervised experiments: data and views, an encoder, one evaluation protocol, panels.

experiment = Experiment(
    file=__file__, doc=__doc__, learner=simclr.learner, build=build, modules={"embedder": Embedder},
    defaults={**encoders.DEFAULTS, "steps": 400}, smoke=encoders.SMOKE, **encoders.SHARED
)

The protocol evaluates the encoder of every pretext task on downstream tasks, beside the untrained encoder:

    knn              weighted k-NN: --knn_k neighbors among --bank_size labeled features, temperature 0.07
    probe            logistic regression on the same features
    fine_tune_N      fine-tuning of all weights with N labels, one N for each value of --fine_tune
    supervised       the same encoder, trained only on the bank's labels (with --supervised; slow)

`remove_labels` removes the labels from every batch of the learner. A learner whose `predict` returns `features` and
`untrained`, and whose state has a `--model` under "backbone", needs only `SHARED`; one with another encoder passes
`encoder=` to `evaluators`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import jax
from flax import linen as nn

from dlcore.data.augment import Preprocess
from dlcore.data.augment.recipes import VIEWS, contrastive_augmentation
from dlcore.evaluators.fine_tuning import Encoder, Recipe, fine_tuning, label_counts, module_encoder
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError, Setting
from dlcore.experiment.splits import Splits
from dlcore.kits.images import labeled_images
from dlcore.kits.images.known_datasets import TRAIN_SIZES
from dlcore.kits.training import backbone, init_from, optimizer
from dlcore.learner import Evaluator, Learner, Range, root_key
from dlcore.modes.report_context import ReportContext
from dlcore.ops.replica import REPLICA
from dlcore.self_supervised.networks import Embedder, pool_features

__all__ = [
    "CONTRASTIVE",
    "DEFAULTS",
    "SETTINGS",
    "SHARED",
    "SMOKE",
    "augmentation",
    "build",
    "check",
    "data",
    "encoder",
    "evaluators",
    "notes",
    "panels",
    "remove_labels",
    "view_panels",
]

SETTINGS = {
    **{name: setting for name, setting in labeled_images.SETTINGS.items() if name != "augment"},
    **{name: setting for name, setting in optimizer.SETTINGS.items() if name not in ("ema", "accumulate")},
    "bank_size": Setting(5000, "labeled training images for k-NN and the probe", limits=Range(1)),
    "knn_k": Setting(20, "neighbors of k-NN", limits=Range(1)),
    "fine_tune": Setting(
        (0.01, 0.1),
        "labels to fine-tune with at the end: counts, or below 1 shares of the training images; empty for none",
        tuple[float, ...],
        Range(0),
    ),
    "fine_tune_steps": Setting(
        Recipe().steps, f"updates of a fine-tuning, of {Recipe().batch_size} images", limits=Range(1)
    ),
    "supervised": Setting(False, "at the end, train the encoder by the bank's labels too, to compare"),
}
"""Settings of every pretext task."""

DEFAULTS = {"embedder.proj_dim": 64, "eval_every": 100, "weight_decay": 1e-4, "select": "last"}

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

TEMPERATURE = 0.07
"""Temperature of the weighted k-NN."""

AUTO_VIEWS = {"digits": "digit", "mnist": "digit", "fashion_mnist": "gray"}
"""Augmentation of `--views=auto` by data set; color for other names."""


def augmentation(flags: Flags) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Build the random view that `--views` names.

    Args:
      flags: `views` and `dataset`.

    Returns:
      `(key, image [H, W, C] in [0, 1]) -> image`.
    """
    return contrastive_augmentation(AUTO_VIEWS.get(flags.dataset, "color") if flags.views == "auto" else flags.views)


def data(flags: Flags) -> Splits:
    """Load the splits by name. A folder of images needs no class folders; without labels the loss is the headline.

    Args:
      flags: resolved settings; must contain SETTINGS.

    Returns:
      The splits.

    Raises:
      FlagError: `--knn_k` asks for more neighbors than the bank has.
    """
    splits = labeled_images.data(flags, labels=False)
    if splits.spec["num_classes"] > 1:
        bank = min(flags.bank_size, len(splits.train))
        if "knn_k" in flags.given and flags.knn_k > bank:
            raise FlagError(f"--knn_k={flags.knn_k}: more than the bank has; allowed: 1 to {bank}, see --bank_size")
        return splits
    message = "the images have no labels: no k-NN, no probe and no fine-tuning; the loss is the measure"
    return splits._replace(spec={**splits.spec, "headline": "loss"}, notes=(*splits.notes, message))


def remove_labels(learner: Learner) -> Learner:
    """Remove the labels from every batch of a learner; evaluators still get them.

    Args:
      learner: learner that makes its own targets.

    Returns:
      The learner, none of whose functions gets `label`.
    """

    def without(batch: Any) -> Any:
        return {name: rows for name, rows in batch.items() if name != "label"}

    def init(rng: jax.Array, batch: Any) -> Any:
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


def encoder(
    setup: Setup,
    model: nn.Module | None = None,
    variables: Callable[[Any], dict] | None = None,
    prepare: Preprocess | None = None,
    *,
    method: str = "features",
    read: Callable[[Any], jax.Array] = pool_features,
) -> Encoder:
    """Describe the encoder for fine-tuning; images are augmented as a classifier's are.

    Args:
      setup: facts of the run; its flags must contain SETTINGS.
      model: the module; None takes `--model`.
      variables: State -> the trained variables of `model`, or more; None takes those under "backbone".
      prepare: batch of images to the model's input; None takes `labeled_images.preprocess`.
      method: name of the module's method `(x, train)`; every model has one that returns {stage: map}.
      read: function from the result of `method` to features [B, D]; `pool_features` averages the last map.

    Returns:
      The encoder, for `fine_tuning`.
    """
    model = backbone.build(setup, num_classes=1, axis_name=None) if model is None else model
    prepare, augment = prepare or labeled_images.preprocess(setup), labeled_images.augmentation(setup.flags, setup.spec)

    def backbone_of(state: Any) -> dict:
        trees = {"params": state.params, **state.model_state}
        return {name: leaves["backbone"] for name, leaves in trees.items() if "backbone" in leaves}

    return module_encoder(
        model,
        prepare,
        setup.spec["image_shape"],
        variables or backbone_of,
        read,
        method=method,
        augment=augment,
    )


def check(flags: Flags) -> None:
    """Check that a well-known data set has as many images as the labels that `--fine_tune` requests.

    Args:
      flags: resolved settings; must contain SETTINGS.

    Raises:
      FlagError: an amount is no number of labels, or exceeds the number of images.
    """
    # Clips have no --dataset.
    _fine_tune_counts(flags, TRAIN_SIZES.get(flags.get("dataset"), 2**63), 1)


def _fine_tune_counts(flags: Flags, train_size: int, num_classes: int) -> tuple[int, ...]:
    """Compute the numbers of labels that `--fine_tune` requests.

    Args:
      flags: resolved settings; must contain SETTINGS.
      train_size: number of training images.
      num_classes: number of classes.

    Returns:
      Counts in ascending order.

    Raises:
      FlagError: an amount is no number of labels, or exceeds the number of images.
    """
    try:
        return label_counts(flags.fine_tune, train_size, num_classes)
    except ValueError as error:
        raise FlagError(f"--{error}") from None


def notes(setup: Setup, splits: Splits) -> list[str]:
    """Describe the evaluation protocol.

    Args:
      setup: facts of the run; its flags must contain SETTINGS.
      splits: the data.

    Returns:
      Lines to print.

    Raises:
      FlagError: `--fine_tune` requests more labels than there are.
    """
    return [_protocol(setup.flags, splits)] if _has_labels(splits) else []


def _has_labels(splits: Splits) -> bool:
    return splits.spec["num_classes"] > 1


def _recipe(flags: Flags) -> Recipe:
    return Recipe(steps=flags.fine_tune_steps)


def _protocol(flags: Flags, splits: Splits) -> str:
    size = len(splits.train)
    bank, counts = min(flags.bank_size, size), _fine_tune_counts(flags, size, splits.spec["num_classes"])
    numbers = " and ".join(f"{count:,}" for count in counts)
    recipe = _recipe(flags)
    length = f"{recipe.steps:,} steps of {recipe.batch_size} images"
    tuned = f"; fine-tuning with {numbers} labels, {length}" if counts else ""
    return (
        f"k-NN with k = {min(flags.knn_k, bank)} and temperature {TEMPERATURE}, linear probe: by the labels of "
        f"{bank:,} training images{tuned}; each beside the untrained encoder. The learner gets no label."
    )


def build(make_learner: Callable[..., Learner], setup: Setup, sync_batch_norm: bool = True) -> Learner:
    """Build a learner of two views from the flags.

    Args:
      make_learner: the technique's factory.
      setup: facts of the run; its flags must contain SETTINGS, a model's and an `Embedder`'s.
      sync_batch_norm: average batch statistics over the replicas under pmap.

    Returns:
      The learner.
    """
    flags, axis_name = setup.flags, REPLICA if sync_batch_norm else None
    learner = make_learner(
        model=Embedder(
            backbone.build(setup, num_classes=1, axis_name=axis_name), **flags.group("embedder"), axis_name=axis_name
        ),
        optimizer=optimizer.build(setup),
        augment=augmentation(flags),
        preprocess=labeled_images.preprocess(setup),
        **flags.group("learner"),
    )
    return remove_labels(learner)


def evaluators(
    setup: Setup,
    data: Splits,
    split: str,
    *,
    encoder: Callable[[Setup], Encoder] = encoder,
    embeddings: bool = False,
) -> list[Evaluator]:
    """Build the protocol's evaluators: k-NN at each validation, all of them at the end.

    Args:
      setup: facts of the run; its flags must contain SETTINGS.
      data: the splits.
      split: "valid" or "test".
      encoder: Setup -> encoder to fine-tune.
      embeddings: whether `predict` returns the `embeddings` of a head, which are evaluated too.

    Returns:
      Evaluators of the accuracies `knn` and `knn_untrained`; on "test" also of `probe`, `probe_untrained`,
      `fine_tune_N` and `fine_tune_N_untrained`, and with `--supervised` of the supervised encoder. Embeddings add
      `uniformity`, and on "test" `probe_head`. Images without labels have `uniformity` alone.
    """
    from dlcore.data.bank_and_queries import bank_and_queries
    from dlcore.evaluators.knn import knn
    from dlcore.evaluators.linear_probe import linear_probe
    from dlcore.evaluators.uniformity import uniformity

    flags, queries = setup.flags, getattr(data, split)
    if not _has_labels(data):
        return [uniformity(bank_and_queries(data.train, queries, flags.bank_size, flags.seed))] if embeddings else []
    source = bank_and_queries(data.train, queries, flags.bank_size, flags.seed)
    k = min(flags.knn_k, flags.bank_size, len(data.train))
    measures = [
        knn(source, k=k, temperature=TEMPERATURE),
        knn(source, k=k, temperature=TEMPERATURE, key="untrained", name="knn_untrained"),
        *([uniformity(source)] if embeddings else []),
    ]
    if split == "valid":
        return measures
    measures += [linear_probe(source), linear_probe(source, key="untrained", name="probe_untrained")]
    if embeddings:
        measures.append(linear_probe(source, key="embeddings", name="probe_head"))
    counts = _fine_tune_counts(flags, len(data.train), setup.spec["num_classes"])
    if counts or flags.supervised:
        tuning = fine_tuning(
            source,
            data.train,
            queries,
            encoder=encoder(setup),
            counts=counts,
            num_classes=setup.spec["num_classes"],
            recipe=_recipe(flags),
            supervised=min(flags.bank_size, len(data.train)) if flags.supervised else 0,
            k=k,
            seed=flags.seed,
        )
        measures.append(tuning)
    return measures


def panels(context: ReportContext, more: Sequence = ()) -> list:
    """Show the protocol's results, nearest neighbors, a 2-D projection of the features, and the curves.

    Args:
      context: the ReportContext.
      more: panels of the pretext task, after the results.

    Returns:
      Report panels.
    """
    from dlcore.report import self_supervised as report
    from dlcore.report.curves import curves
    from dlcore.report.triage import triage_panels

    flags, names, features = context.flags, context.spec["class_names"], context.outputs["features"]
    test, labels = context.data.test.arrays["image"], context.data.test.arrays["label"]
    tables = []
    if _has_labels(context.data):
        caption = f"Accuracy on the test split. {_protocol(flags, context.data)}"
        tables = [report.accuracy_table(context.numbers, caption)]
    return [
        *tables,
        *more,
        report.nearest_neighbors(test, labels, features, names),
        report.feature_plane(features, labels, names),
        *triage_panels([{k: v for k, v in row.items() if k != "accuracy"} for row in context.history], floor=None),
        curves(context.history),
    ]


def view_panels(context: ReportContext) -> list:
    """Show the panels of `panels`, and pairs of views.

    Args:
      context: the ReportContext.

    Returns:
      Report panels.
    """
    from dlcore.data.augment import to_float
    from dlcore.report import self_supervised as report
    from dlcore.self_supervised.views import two_views

    images = to_float(context.data.test.arrays["image"][:12])
    keys = jax.random.split(root_key(context.flags.seed), len(images))
    views = jax.jit(lambda: two_views(augmentation(context.flags), lambda x: x, keys, images))()
    return panels(context, [report.view_pairs(images, *views)])


SHARED = {
    "data": data,
    "check": check,
    "model": "resnet8_cifar",
    "settings": {**SETTINGS, **init_from.SETTINGS},
    "start": init_from.start_backbone,
    "monitor": "knn",
    "headline": "knn",
    "schedule": optimizer.schedule,
    "evaluators": evaluators,
    "notes": notes,
    "panels": panels,
}
"""Arguments of `Experiment` that are the same for every pretext task on labeled images."""

CONTRASTIVE = {
    **SHARED,
    "settings": {
        **SHARED["settings"],
        "views": Setting("auto", "augmentation that makes the views, by the kind of image", Literal["auto", *VIEWS]),
    },
    "evaluators": partial(evaluators, embeddings=True),
    "panels": view_panels,
}
"""Arguments of experiments that compare two views by an `Embedder`."""
