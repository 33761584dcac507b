"""Hand-written rules classify worse than HOG and a convolutional network under each of six challenges.

python -m experiments.studies.classification_challenges

The rule counts edge pixels and corners and measures where the ink is, and takes the class with the nearest mean; HOG
goes into a linear classifier; the network has three convolutions. All learn the same clean digits, without
augmentation, and see the digits of other writers under

    viewpoint      turned by up to 90°                    occlusion   a gray square of up to 6 x 6 pixels
    illumination   light that falls off to one side       clutter     parts of other digits, as bright as itself
    deformation    rows shifted along a wave              intra-class only the images least like their class's mean

at growing strength. The claim holds where, in the mean over the strengths of each challenge, the rule is the worst of
the three. Reported is the strength at which each falls to half of its clean accuracy.

References: Dalal & Triggs 2005, "Histograms of oriented gradients for human detection"; Hendrycks & Dietterich 2019,
"Benchmarking neural network robustness to common corruptions and perturbations", arXiv:1903.12261.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.classical_vision.corners import harris_response
from dlcore.classical_vision.feature_classifier import fit_classifier
from dlcore.classical_vision.hog import hog
from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.ops.filters import sobel_filter
from dlcore.ops.grid_sample import affine_grid, bilinear_sample, grid_sample
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from experiments.classical_vision.learned_features import SmallConvNet
from experiments.studies.small_runs import Digits, shuffled_digits, train

CHALLENGES = ("viewpoint", "illumination", "deformation", "occlusion", "clutter", "intra-class")
METHODS = ("rule", "HOG", "network")
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


@functools.partial(jax.jit, static_argnums=0)
def perturb(challenge: str, images: jax.Array, strength: float, key: jax.Array) -> jax.Array:
    """Images [N, H, W, 1] in [0, 1] under a challenge (all but intra-class) of a strength in [0, 1]."""
    count, height, width, _ = images.shape
    rows, columns = jnp.arange(height)[:, None], jnp.arange(width)
    if challenge == "viewpoint":
        angle = strength * jnp.pi / 2
        theta = jnp.array([[jnp.cos(angle), -jnp.sin(angle), 0], [jnp.sin(angle), jnp.cos(angle), 0]])
        grid = affine_grid(theta, (height, width))
        return grid_sample(images, jnp.broadcast_to(grid, (count, *grid.shape)))
    if challenge == "illumination":
        return images * (1 - strength * columns / (width - 1))[None, None, :, None]
    if challenge == "deformation":
        shift = strength * width / 4 * jnp.sin(2 * jnp.pi * rows / height)
        shape = (count, height, width)
        return bilinear_sample(
            images, jnp.broadcast_to(rows, shape).astype(float), jnp.broadcast_to(columns + shift, shape)
        )
    if challenge == "occlusion":
        side = strength * 0.75 * height
        corner = jax.random.uniform(key, (count, 2)) * (height - side)
        inside = (jnp.abs(rows + 0.5 - corner[:, :1, None] - side / 2) < side / 2) & (
            jnp.abs(columns + 0.5 - corner[:, 1:, None] - side / 2) < side / 2
        )
        return jnp.where(inside[..., None], 0.5, images)
    if challenge == "clutter":
        other_images = images[jax.random.permutation(key, count)]
        return jnp.maximum(images, strength * jnp.roll(other_images, (height // 2, width // 2), (1, 2)))
    raise ValueError(f"challenge={challenge!r}: unknown; allowed: {', '.join(CHALLENGES[:-1])}")


@jax.jit
def rule_features(images: jax.Array) -> jax.Array:
    """[N, 5]: edge pixels, corners, and the ink in the upper, left and middle part, of images [N, H, W, 1]."""
    gray = images[..., 0]
    down, right = sobel_filter(gray)
    edges = (jnp.hypot(down, right) > 2).mean((1, 2))
    response = harris_response(gray, 0.7)
    corners = (response > 1).mean((1, 2))
    ink = gray.sum((1, 2)) + 1e-6
    height, width = gray.shape[1:]
    upper, left = gray[:, : height // 2].sum((1, 2)) / ink, gray[:, :, : width // 2].sum((1, 2)) / ink
    middle = gray[:, height // 4 : -(height // 4), width // 4 : -(width // 4)].sum((1, 2)) / ink
    return jnp.stack([edges, corners, upper, left, middle], 1)


def fit_rule(images: np.ndarray, labels: np.ndarray):
    """Classify by the nearest class mean of the counts, each divided by its deviation."""
    features = np.asarray(rule_features(images))
    scale = features.std(0) + 1e-6
    means = np.stack([features[labels == c].mean(0) for c in range(10)]) / scale

    def predict(x: np.ndarray) -> np.ndarray:
        return np.square(np.asarray(rule_features(x))[:, None] / scale - means).sum(-1).argmin(1)

    return predict


def fit_hog(images: np.ndarray, labels: np.ndarray):
    """Classify HOG of the doubled images by a linear classifier."""

    def features(x: np.ndarray) -> jax.Array:
        doubled = jax.image.resize(jnp.asarray(x), (len(x), 2 * x.shape[1], 2 * x.shape[2], 1), "bilinear")
        return hog(doubled, 9, 4, 2)

    classifier = fit_classifier(features(images), labels, 10, l2=1e-2, steps=60)
    return lambda x: np.asarray(classifier.predict(features(x)))


def fit_network(images: np.ndarray, labels: np.ndarray, steps: int, seed: int):
    """Classify by a small convolutional network."""
    net, optimizer = SmallConvNet(), optax.adamw(optax.cosine_decay_schedule(2e-3, steps), weight_decay=1e-3)
    run = jax.jit(lambda key, x, y: train(key, net, optimizer, x, y, steps)[0])
    variables = run(jax.random.key(seed), jnp.asarray(images, jnp.float32), jnp.asarray(labels))
    variables = jax.tree.map(lambda leaf: leaf[-1], variables)
    apply = jax.jit(lambda x: net.apply(variables, x, False).argmax(-1))
    return lambda x: np.asarray(apply(x))


def half_strength(strengths: tuple[float, ...], accuracy: np.ndarray) -> float | None:
    """The first strength at which the accuracy is half of the first, between the measured ones; None if it never is."""
    half = accuracy[0] / 2
    for i in range(1, len(accuracy)):
        if accuracy[i] <= half:
            part = (accuracy[i - 1] - half) / (accuracy[i - 1] - accuracy[i])
            return float(strengths[i - 1] + part * (strengths[i] - strengths[i - 1]))
    return None


def least_typical(data: Digits, strength: float) -> np.ndarray:
    """Rows of the test images, without the `strength` x 90 % of them that are nearest to their class's mean."""
    means = np.stack([data.images[data.labels == c].mean(0) for c in range(10)])
    distance = np.square(data.test_images - means[data.test_labels]).sum((1, 2, 3))
    return np.argsort(distance)[int(0.9 * strength * len(distance)) :]


def judge(accuracy: dict[str, np.ndarray]) -> tuple[str, bool]:
    """The verdict on {method: accuracies [challenges, strengths]}."""
    means = {method: values.mean(1) for method, values in accuracy.items()}
    holds = all((means["rule"] < means[method]).all() for method in means if method != "rule")
    clean = ", ".join(f"{method} {values[0, 0]:.1%}" for method, values in accuracy.items())
    under = ", ".join(f"{method} {values.mean():.1%}" for method, values in means.items())
    least = {method: CHALLENGES[values.argmin()] for method, values in means.items()}
    worst = ", ".join(f"{method} {challenge}" for method, challenge in least.items())
    return (
        f"Clean: {clean}; mean over all challenges and strengths: {under}. Hardest: {worst}. The rule is "
        f"{'the worst under each challenge' if holds else 'NOT the worst under each challenge'}."
    ), holds


def study(*, steps: PositiveInt = 600, seed: Seed = 0) -> StudyResult:
    """Measure three classifiers under six challenges."""
    data = shuffled_digits(seed)
    classifiers = {
        "rule": fit_rule(data.images, data.labels),
        "HOG": fit_hog(data.images, data.labels),
        "network": fit_network(data.images, data.labels, steps, seed),
    }
    accuracy = {method: np.zeros((len(CHALLENGES), len(STRENGTHS))) for method in METHODS}
    for i, challenge in enumerate(CHALLENGES):
        for j, strength in enumerate(STRENGTHS):
            if challenge == "intra-class":
                rows = least_typical(data, strength)
                images, labels = data.test_images[rows], data.test_labels[rows]
            else:
                images = perturb(challenge, jnp.asarray(data.test_images), strength, jax.random.key(seed))
                labels = data.test_labels
            for method, predict in classifiers.items():
                accuracy[method][i, j] = (predict(np.asarray(images, np.float32)) == labels).mean()
    numbers = {"strengths": list(STRENGTHS)}
    for method, values in accuracy.items():
        for challenge, line in zip(CHALLENGES, values, strict=True):
            numbers[f"{method}, {challenge}"] = line.tolist()
            numbers[f"{method}, {challenge}: half at"] = half_strength(STRENGTHS, line)
    verdict, holds = judge(accuracy)
    figure, axes = new_figure((9, 4.6), 2, 3, sharex=True, sharey=True)
    for ax, challenge, i in zip(axes.ravel(), CHALLENGES, range(6), strict=True):
        for method, color in zip(METHODS, (GRAY, VERMILION, BLUE), strict=True):
            ax.plot(STRENGTHS, 100 * accuracy[method][i], "o-", color=color, label=method, markersize=4)
        ax.set_title(challenge, fontsize=10)
        ax.axhline(10, color="0.8", linestyle=":")
        ax.set_ylim(0, 102)
    axes[0, 0].legend(frameon=False, fontsize=8)
    axes[1, 1].set_xlabel("strength")
    axes[0, 0].set_ylabel("accuracy, %")
    gallery, tiles = new_figure((7, 6), len(CHALLENGES) - 1, len(STRENGTHS))
    for i, challenge in enumerate(CHALLENGES[:-1]):
        for j, strength in enumerate(STRENGTHS):
            image = perturb(challenge, jnp.asarray(data.test_images[:16]), strength, jax.random.key(seed))[0]
            tiles[i, j].imshow(image[..., 0], cmap="gray", vmin=0, vmax=1)
            tiles[i, j].set(xticks=[], yticks=[])
        tiles[i, 0].set_ylabel(challenge, fontsize=8)
    mean = float(np.mean(accuracy["network"]))
    headline = Headline("accuracy of the network, mean of challenges", mean, "digits", tolerance=0.03)
    return StudyResult(numbers, verdict, {"accuracy": figure, "challenges": gallery}, holds, headline)


experiment = Study(__file__, __doc__, study, smoke={"steps": 20})

if __name__ == "__main__":
    main(experiment)
