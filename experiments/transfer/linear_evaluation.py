"""The features of a trained network beat those of the same network untrained, and pixels, on another data set.

python -m experiments.transfer.linear_evaluation   (linear probe 98.1 %, untrained 76.0, pixels 91.3; 4 minutes)
python -m experiments.transfer.linear_evaluation --init_from=RUN --dataset=digits                         (not run)
python -m experiments.transfer.linear_evaluation --init_from=RUN --dataset=fashion_mnist --data_dir=D \\
    --labels_per_class=100 --methods=linear,knn                                                           (not run)

RUN is the folder of a run of a page with `--model` (a classifier, a pretext, a detector, a segmenter, a semi-supervised
technique) or with an encoder of its own (MAE, DINO, CLIP, domain adaptation, few-shot, an autoencoder), a folder of
`dlcore convert`, or a packed .npz. By default MoCo learns handwritten digits without their labels, and its features are
measured on digits rendered from fonts; after 300 of its 1,000 steps they are level with pixels by k-NN.

    linear       a linear classifier on frozen features: logistic regression
    knn          k nearest neighbors by cosine, on frozen features
    fine_tune    all weights learn, under a new linear layer

Each learns from the same labeled images, and is measured on the test split by the trained network, by the same network
with its initial weights, and (but for fine-tuning) by pixels. Images are resized to the height and width that the
network was trained on (bilinear) and normalized as the run's were; gray ones fill the channels of a network of colors,
and colors are refused by a network of gray images. Nothing is chosen on the test split. The claim holds where, by each
method, the mean over the draws of the labels is highest with the trained network.

References: Zhang, Isola & Efros 2016, arXiv:1603.08511, section 3.2 (linear classifiers on frozen features);
Kolesnikov, Zhai & Beyer 2019, arXiv:1901.09005 (the protocol).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classic_ml.logistic_probe import probe_predict
from dlcore.data.augment import to_float
from dlcore.data.few_labels import few_labels
from dlcore.data.font_digits import font_digits
from dlcore.data.image_classification import load
from dlcore.data.normalization import normalizer
from dlcore.data.source import Source
from dlcore.data.streaming import streamed_images
from dlcore.evaluators.fine_tuning import Recipe, Tuning
from dlcore.evaluators.knn import knn_predict
from dlcore.experiment import Experiment, Headline, PositiveInt, Splits, Study, StudyResult
from dlcore.experiment.resolved_run import open_run, restore_state
from dlcore.learner import root_key
from dlcore.main import main
from dlcore.models.encoder import Encoder, module_encoder
from dlcore.models.registry import kind_of
from dlcore.optim import parameter_ema
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure, seed_dots
from dlcore.self_supervised.networks import pool_features
from dlcore.semi_supervised.twin import TwinState
from dlcore.weights.network import check_studied, load_network
from dlcore.weights.open import Weights, open_weights
from experiments import find_experiment
from experiments.self_supervised.moco import experiment as moco

METHODS = {"linear": "linear probe", "knn": "k-NN", "fine_tune": "fine-tuned"}
ARMS = {"trained": BLUE, "untrained": GRAY, "pixels": VERMILION}
DRAWN = {"train": 2000, "valid": 500, "test": 1000}
"""Digits rendered from fonts in each split."""
SERVES = (
    "a run of a page with --model or an encoder of images (of a classifier, a pretext, a detector, a segmenter), a "
    "folder of `dlcore convert`, or a packed .npz"
)


class Network(NamedTuple):
    """A trained encoder of images [B, *image_shape], its variables, and what it is, for people."""

    what: str
    encoder: Encoder
    variables: dict
    image_shape: tuple[int, int, int]


def origin(source: str | Path) -> Weights:
    """Read where the network of `--init_from` comes from, before anything is loaded; it must encode images."""
    source_run = open_weights(source, "init_from")
    if source_run.page is None:
        kind = kind_of(source_run.model)
        if kind != "image":
            raise ValueError(f"{source_run.name}: {source_run.model}, a model of {kind}; allowed: {SERVES}")
        return source_run
    page = find_experiment(source_run.page)
    if not isinstance(page, Experiment) or not (page.model or any(page.parts.having("encoder"))):
        raise ValueError(
            f"{source_run.name}: a run of {source_run.page}, without an encoder of images; allowed: {SERVES}"
        )
    return source_run


def load_state(folder: Path, page: Experiment):
    """Restore the whole state of a run, for encoders that read their technique's own fields: (its run, its state)."""
    resolved = open_run(folder, page)
    run = resolved.training(resolved.config()["spec"])
    _, state = restore_state(resolved, run.build(), resolved.example(run.spec), run.flags.select)
    state = state.technique if isinstance(state, TwinState) else state
    if run.flags.get("ema"):
        state = state.replace(params=parameter_ema(state.opt_state, state.params))
    return run, state


def load_encoder(source_run: Weights) -> Network:
    """Load the network of a run."""
    page = None if source_run.page is None else find_experiment(source_run.page)
    if page is not None and any(page.parts.having("encoder")):
        run, state = load_state(source_run.path, page)
        encoder, what = run.encoder(), f"the encoder of {source_run.page}"
        shape = run.spec["image_shape"]
    else:
        network = load_network(source_run.path, "init_from", headless=True)
        shape = (*np.broadcast_to(network.side, 2).tolist(), len(network.mean))
        prepare = normalizer(network.mean, network.std, size=network.input_size)
        encoder = module_encoder(network.model, prepare, shape, lambda variables: variables, pool_features)
        what, state = f"{network.name} of {source_run.page or source_run.path.name}", network.variables
    try:
        return Network(what, encoder, jax.device_get(encoder.variables(state)), tuple(shape))
    except ValueError as error:
        raise ValueError(f"{source_run.name}: {error}") from None


def converted(encoder: Encoder, image_shape: Sequence[int], data_shape: Sequence[int]) -> Encoder:
    """Let an encoder of images (H, W, C) = image_shape take images of data_shape, uint8 or in [0, 1].

    It resizes them (bilinear), repeats a gray channel and augments none.
    """
    height, width, channels = image_shape
    if data_shape[-1] not in (1, channels):
        raise ValueError(
            f"dataset: images of {data_shape[-1]} channels, and the network was trained on {channels}; "
            f"allowed: images of {channels}{' or 1' if channels > 1 else ''}, or a network trained on colors"
        )

    def prepare(images: jax.Array) -> jax.Array:
        x = to_float(images)
        if tuple(data_shape[:2]) != (height, width):
            x = jax.image.resize(x, (len(x), height, width, x.shape[-1]), "linear")
        return encoder.prepare(jnp.broadcast_to(x, (*x.shape[:3], channels)))

    return encoder._replace(prepare=prepare, augment=None)


def data(dataset: str, data_dir: str | None, image_size: int | None, seed: int) -> Splits:
    """Load the data that features are measured on: font_digits, or one of `dlcore.data.image_classification.load`."""
    if dataset == "font_digits":
        parts = [font_digits(count, 3 * seed + k) for k, count in enumerate(DRAWN.values())]
    else:
        loaded = load(dataset, data_dir, seed=seed, image_size=image_size)
        parts = [loaded.train, loaded.valid, loaded.test]
        if any(streamed_images(part) is not None for part in parts):
            raise ValueError(f"dataset={dataset!r}: does not fit in memory; allowed: a smaller one, or --image_size")
    return Splits(*parts, {"dataset": dataset, "image_shape": list(parts[0].arrays["image"].shape[1:])})


def accuracies(
    network: Network, train: Source, test: Source, methods: Sequence[str], *, k: int, steps: int, seed: int
) -> dict[tuple[str, str], float]:
    """Measure a network, the same one untrained, and pixels: {(method, arm): accuracy}; pixels are not fine-tuned."""
    labels, targets = (np.asarray(source.arrays["label"]) for source in (train, test))
    encoder = converted(network.encoder, network.image_shape, train.arrays["image"].shape[1:])
    tuning = Tuning(encoder, Recipe(steps=steps), len(train.class_names), seed)
    arms = {"trained": network.variables, "untrained": jax.device_get(jax.jit(encoder.init)(root_key(seed)))}
    features = {arm: [tuning.features(weights, x) for x in (train, test)] for arm, weights in arms.items()}
    features["pixels"] = [np.asarray(to_float(x.arrays["image"])).reshape(len(x), -1) for x in (train, test)]
    results = {}
    for arm, (bank, queries) in features.items():
        if "linear" in methods:
            results["linear", arm] = probe_predict(bank, labels, queries)
        if "knn" in methods:
            results["knn", arm] = knn_predict(bank, labels, queries, min(k, len(bank)))
        if "fine_tune" in methods and arm in arms:
            tuned, head = tuning.train(arms[arm], train)
            results["fine_tune", arm] = (tuning.features(tuned, test) @ head["kernel"] + head["bias"]).argmax(1)
    return {key: float((predicted == targets).mean()) for key, predicted in results.items()}


def report(results: dict[tuple[str, str], np.ndarray], what: str, dataset: str, num_labels: int) -> StudyResult:
    """Judge {(method, arm): accuracies of the draws}."""
    methods = [name for name in METHODS if any(method == name for method, _ in results)]
    summaries, gains = [], {}
    for method in methods:
        means = {arm: 100 * values.mean() for (name, arm), values in results.items() if name == method}
        rival = max((arm for arm in means if arm != "trained"), key=means.get)
        gains[method] = means["trained"] - means[rival], rival
        others_text = ", ".join(f"{arm} {mean:.1f} %" for arm, mean in means.items() if arm != "trained")
        summaries.append(f"{METHODS[method]} {means['trained']:.1f} % ({others_text})")
    holds = all(gain > 0 for gain, _ in gains.values())
    behind = ", ".join(METHODS[method] for method, (gain, _) in gains.items() if not gain > 0)
    first, rival = methods[0], gains[methods[0]][1]
    verdict = (
        f"Features of {what} on {dataset}, {num_labels} labels, {len(results[first, 'trained'])} draws: "
        f"{'; '.join(summaries)}. The trained network is {'ahead by each' if holds else f'NOT ahead by {behind}'}."
    )
    baseline = float(results[first, rival].mean()), rival, "higher"
    headline = Headline(
        f"accuracy, {METHODS[first]}, {num_labels} labels", results[first, "trained"], dataset, baseline=baseline
    )
    numbers = {f"{METHODS[method]}, {arm}": values.tolist() for (method, arm), values in results.items()}
    return StudyResult(numbers, verdict, {"accuracy": draw(results, methods)}, holds, headline=headline)


def draw(results, methods):
    figure, axes = new_figure((6, 0.9 + 0.6 * len(methods)), grid="x")
    for arm, color in ARMS.items():
        groups = {METHODS[method]: results.get((method, arm), [np.nan]) for method in methods}
        seed_dots(axes, groups, color, scale=100, label=arm, horizontal=True)
    axes.set(xlabel="test accuracy, % (bar: mean)")
    axes.legend(frameon=False, fontsize=9, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def study(
    *,
    init_from: str | None = None,
    dataset: str = "font_digits",
    data_dir: str | None = None,
    image_size: PositiveInt | None = None,
    methods: tuple[str, ...] = tuple(METHODS),
    labels_per_class: PositiveInt | None = 10,
    k: PositiveInt = 5,
    fine_tune_steps: PositiveInt = 100,
    num_seeds: PositiveInt = 3,
    network_steps: PositiveInt = 1000,
    changed_data: bool = False,
    miniature: bool = False,
) -> StudyResult:
    """Measure the features of a network on a data set.

    Args:
      init_from: a run's folder, a folder of `dlcore convert` or a packed .npz; none trains MoCo on digits.
      dataset: data set of the features: font_digits (drawn), digits (embedded), folder, or a tfds name such as
        mnist, fashion_mnist, cifar10.
      data_dir: where tfds data sets were prepared, or a folder of class folders.
      image_size: side of the images of a folder.
      methods: one or more of linear, knn and fine_tune.
      labels_per_class: labeled training images of each class; none takes all.
      k: neighbors that vote in k-NN.
      fine_tune_steps: updates of a fine-tuning, of 64 images.
      num_seeds: draws of the labels, each with its own initial weights of the untrained network.
      network_steps: training steps of the default network.
      changed_data: allow a network that was trained on test images.
      miniature: whether the default network is that of a smoke run, to try the study out.

    Raises:
      ValueError: a method is unknown, the network has no encoder of images, or does not take these images.
    """
    if not methods or (unknown := set(methods) - set(METHODS)):
        name = min(unknown) if methods else ""
        raise ValueError(f"methods={name!r}: unknown or none; allowed: one or more of {', '.join(METHODS)}")
    source_run = None if init_from is None else origin(init_from)
    splits = data(dataset, data_dir, image_size, 0)
    if source_run is None:
        words = ["--dataset=digits", f"--steps={network_steps}", f"--eval_every={network_steps}", "--fine_tune="]
        small = ["--smoke", "--model.width=4"] if miniature else []
        source_run = origin(moco.trained([*small, *words], "training MoCo on digits"))
    network = load_encoder(check_studied(source_run, splits, changed_data))
    converted(network.encoder, network.image_shape, splits.spec["image_shape"])
    rows = []
    for seed in range(num_seeds):
        train = splits.train if labels_per_class is None else few_labels(splits.train, labels_per_class, seed)
        rows.append(accuracies(network, train, splits.test, methods, k=k, steps=fine_tune_steps, seed=seed))
    results = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    return report(results, network.what, dataset, len(train))


experiment = Study(
    __file__, __doc__, study, smoke={"num_seeds": 1, "network_steps": 2, "fine_tune_steps": 2, "miniature": True}
)

if __name__ == "__main__":
    main(experiment)
