"""Fine-tuning of a trained network on few images: its head first, then its last stage, then all of it.

python -m experiments.transfer.fine_tuning                              (92.6 %: 10 images of each digit)
python -m experiments.transfer.fine_tuning --parts=*                    (95.8 %: all of it from the start)
python -m experiments.transfer.fine_tuning --parts=gradual:0.4@0.5 --learning_rate=0.01
                                                        (94.2 %: one layer at a time; 83.0 % with a rate of 0.001)
python -m experiments.transfer.fine_tuning --parts=head:10              (60.2 %: the network stays as it is)
python -m experiments.transfer.fine_tuning --parts=head:10 --head=mlp    (70.8 %: a hidden layer on the frozen network)
python -m experiments.transfer.fine_tuning --parts=* --init_from=none   (94.4 %: from random weights)
python -m experiments.transfer.fine_tuning --adapt=bitfit --learning_rate=0.01
                                                                (82.3 %: the head and all biases; the head alone 59.2 %)
python -m experiments.transfer.fine_tuning --dataset=mnist --data_dir=D --labels_per_class=20 --parts=* --init_from=RUN
python -m experiments.transfer.fine_tuning --dataset=folder --data_dir=D --labels_per_class=none --image_size=224 \\
    --model=resnet18 --init_from=FOLDER --parts=head,layer4*:0.1@0.3,*:0.01@0.6
python -m experiments.transfer.fine_tuning --dataset=folder --data_dir=D --labels_per_class=none --image_size=224 \\
    --model=vit_s_16 --init_from=FOLDER --parts=* --layer_decay=0.75 --learning_rate=0.0003
python -m experiments.transfer.fine_tuning --dataset=folder --data_dir=D --labels_per_class=none --image_size=224 \\
    --model=vit_s_16 --init_from=FOLDER --adapt=lora --rank=8

FOLDER holds published weights (`dlcore convert`) or is a run of your own. Which of the four cells you are in, little or
much data, similar or different, is printed first, by a linear classifier on each stage: a network of CIFAR-10 is
different from digits, so that its third stage separates them better than its last. The report says what each phase
bought. One seed, of biases three; the last three commands were not run.

`--adapt` fine-tunes with few parameters (PEFT): the network is frozen, and beside the head an adapter of
`dlcore.transfer.adapters` or LoRA (low-rank adaptation) learns. Those of attention need a transformer.

RUN is one on the embedded digits, `experiments.classification.supervised --model=vgg9_cifar --model.stages=2,2,2,2
--model.width=24 --input_size=32 --steps=1000 --batch_size=50 --eval_every=500`. With 200 labels of MNIST all of it
reaches 97.8 %, random weights 95.8 %, and the head alone 91.1 % (three seeds): 200 moved and turned images teach better
features than those of small blurred digits.
"""

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from dlcore.classification import supervised
from dlcore.data.few_labels import few_labels
from dlcore.experiment import Experiment, Flags, Range, Setting, Setup
from dlcore.experiment.setting import FlagError
from dlcore.experiment.splits import Splits
from dlcore.experiment.task import Task
from dlcore.kits.images import classifier_panels, labeled_images, prediction
from dlcore.kits.training import adapters, backbone, parts
from dlcore.main import main
from dlcore.models import create_model, input_shape
from dlcore.models.backbone import add_mlp_head
from dlcore.report.context import ReportContext
from dlcore.transfer.adapters import Adapted
from dlcore.transfer.frozen import PartlyFrozen
from dlcore.weights.check import take_normalization
from dlcore.weights.network import PACKED, TrainedNetwork, load_network
from dlcore.weights.open import Weights
from dlcore.weights.start import Start, open_classifier_of_model, start_classifier

SETTINGS = {
    **labeled_images.SETTINGS,
    "init_from": Setting(
        "cifar10",
        "weights to start from: a run's folder, a folder of `dlcore convert` or a packed .npz; none starts from random "
        "ones; cifar10 is the small VGG that dlcore ships",
        str | None,
        essential=True,
        origin=lambda flags: origin(flags),
    ),
    "parts": parts.SETTINGS["parts"]._replace(default=("head:10", "*4_*@0.2", "*:0.3@0.4")),
    "head": Setting(
        "linear",
        "new head of the network: one linear layer, or a multi-layer perceptron (mlp) with a hidden layer",
        Literal["linear", "mlp"],
        identity="if changed",
    ),
    "head_units": Setting(128, "--head=mlp: units of its hidden layer", limits=Range(1), identity="if changed"),
    "layer_decay": parts.SETTINGS["layer_decay"],
    **adapters.SETTINGS,
    "labels_per_class": Setting(
        10, "labeled training images of each class; none takes all", int | None, Range(1), essential=True
    ),
}


def origin(flags: Flags) -> Weights | None:
    """Read where the weights of `--init_from` come from."""
    if flags.init_from == "cifar10":
        flags = flags.replace(init_from=str(PACKED))
    return open_classifier_of_model(flags)


def source_network(flags: Flags, channels: int | None = None) -> TrainedNetwork | None:
    """Load the network that `--init_from` names."""
    source_run = origin(flags)
    if source_run is None:
        return None
    channels = None if channels == 1 else channels
    return load_network(source_run.path, "init_from", channels=channels, headless=True)


def data(flags: Flags) -> Splits:
    """Load the splits: few training images of each class, normalized as the source network knows it."""
    splits = labeled_images.data(flags)
    if flags.labels_per_class is not None:
        splits = splits._replace(train=few_labels(splits.train, flags.labels_per_class, flags.seed))
    source_run = origin(flags)
    return splits if source_run is None else take_normalization(splits, [source_run])


def network_of(flags: Flags) -> tuple[nn.Module, jax.Array]:
    """Build the network with its new head, and an image for it; paths depend on neither size nor classes."""
    model = with_head(create_model(flags.model, **flags.group("model")), flags)
    height, width, channels = input_shape(flags.model)
    side = flags.group("model").get("image_size")
    return model, jnp.zeros((1, side or height, side or width, channels))


def trained_parts(flags: Flags) -> Flags:
    """Replace `--parts` by what `--adapt` says, and `gradual` by a part for each layer."""
    model, image = network_of(flags)
    init = lambda: model.init(jax.random.key(0), image, train=False)  # noqa: E731
    return parts.unfold_gradual(adapters.trained_parts(flags), init)


def check(flags: Flags) -> None:
    """Check that the parts, the layer-wise decay and the adapter fit the model."""
    model, image = network_of(flags)
    adapters.check_adapter(flags, model, image)
    if not adapters.is_adapter(flags):
        params = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))["params"]
        parts.check_parts(trained_parts(flags), params)


def with_head(model: nn.Module, flags: Flags) -> nn.Module:
    """Give a network the head that `--head` names."""
    if flags.head == "linear":
        return model
    try:
        return add_mlp_head(model, flags.head_units)
    except ValueError as error:
        raise FlagError(f"--head=mlp: {error}") from None


def start(setup: Setup) -> Start | None:
    """Start from the source network's weights, with a new head where the classes are others."""
    model = model_of(setup)
    return start_classifier(
        setup,
        origin,
        keep_unnamed=False,
        new_head=setup.flags.head == "mlp",
        adapted=model if isinstance(model, Adapted) else None,
    )


def notes(setup: Setup, splits: Splits) -> list[str]:
    """Say which of the four cells this is, by linear classifiers on the features of every stage."""
    from dlcore.data.streaming import streamed_images
    from dlcore.transfer.advice import FEW, advice
    from dlcore.transfer.stages import probe_stages, stage_features

    network = source_network(setup.flags)
    if network is None or streamed_images(splits.train) is not None:
        return []
    per_class = np.bincount(splits.train.arrays["label"], minlength=setup.spec["num_classes"]).min()
    bank, queries = splits.train.take(1000).arrays, splits.valid.take(1000).arrays
    preprocess = labeled_images.preprocess(setup)
    variables = _with_missing_layers(network.model, network.variables, preprocess(bank["image"][:1]))
    features = [stage_features(network.model, variables, x["image"], preprocess) for x in (bank, queries)]
    accuracies = probe_stages(features[0], bank["label"], features[1], queries["label"])
    best = max(accuracies, key=accuracies.get)
    similarity = "similar" if best == list(accuracies)[-1] else "different"
    cell = "little" if per_class < FEW else "much"
    summary = ", ".join(f"{name} {value:.3f}" for name, value in accuracies.items())
    images_of = f"{per_class} labeled images of a class"
    return [
        f"linear classifiers on each stage of the source, accuracy on validation images: {summary}",
        f"{cell} data ({images_of}), {similarity} (best: {best}). {advice(cell, similarity).text}",
    ]


def _with_missing_layers(model: nn.Module, variables: Any, image: jax.Array) -> Any:
    """The variables with zeros for layers that they lack, such as the head of a pretext's backbone."""
    shapes = jax.eval_shape(lambda x: dict(model.init(jax.random.key(0), x)), image)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return unflatten_dict(flatten_dict(zeros) | flatten_dict(dict(variables)))


def panels(context: ReportContext) -> list:
    """Show the gain of each phase, and the panels of a classifier."""
    from dlcore.report.transfer import phase_gains

    phases = parts.parts_of(trained_parts(context.flags))
    return [*phase_gains(context.history, phases), *classifier_panels.panels(context)]


def model_of(setup: Setup) -> PartlyFrozen | Adapted:
    """Build the network with its new head, of which parts or an adapter learn."""
    return adapters.trained_model(with_head(backbone.build(setup), setup.flags), trained_parts(setup.flags))


@dataclasses.dataclass(frozen=True)
class TrainedPartsAdamW(parts.PartsAdamW):
    """AdamW of what `--adapt` lets learn."""

    def build(self, setup: Setup) -> optax.GradientTransformationExtraArgs:
        return super().build(setup._replace(flags=trained_parts(setup.flags)))


@dataclasses.dataclass(frozen=True)
class TransferredImages(Task):
    """Few labeled images, and a network that was trained on others."""

    plain = classifier_panels.PLAIN
    regularizer = "l2"
    data = staticmethod(data)
    inputs = staticmethod(prediction.inputs)
    describe = staticmethod(prediction.describe)
    check = staticmethod(check)
    start = staticmethod(start)
    notes = staticmethod(notes)
    panels = staticmethod(panels)
    pictures = staticmethod(classifier_panels.pictures)

    def expected_loss(self, setup: Setup) -> float:
        return math.log(setup.spec["num_classes"])

    def arguments(self, setup: Setup) -> dict[str, Any]:
        return {
            "model": model_of(setup),
            "preprocess": labeled_images.preprocess(setup),
            "augment": labeled_images.augmentation(setup.flags, setup.spec),
        }


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=supervised.learner,
    task=TransferredImages(),
    optimizer=TrainedPartsAdamW(learning_rate=1e-3, weight_decay=0.01),
    model="vgg9_cifar",
    settings=SETTINGS,
    defaults={
        "model.stages": (2, 2, 2, 2),
        "model.width": 24,
        "input_size": 32,
        "steps": 400,
        "batch_size": 50,
        "eval_every": 40,
        "select": "last",
    },
    smoke={"steps": 4, "batch_size": 10, "eval_every": 2, "eval_batch_size": 500, "input_size": 16},
)

if __name__ == "__main__":
    main(experiment)
