"""Can a pretext be solved by what nobody meant it to teach, and do guards prevent it?

python -m experiments.studies.shortcuts              (open 28.5 %, without shortcuts 22.8 %; guarded 13.9 and 14.1 %)

A perceptron tells which of its eight neighbors a patch of a photograph is. The photographs have a lens that spreads red
outwards and blue inwards, as lenses do. Three nets learn from them:

    open       patches that touch each other, in color: lines that go on, and fringes of color, tell the place
    gaps       gaps and random displacements between patches, each normalized by itself
    guarded    the same in gray, so that no color is left

Each is measured as it was trained, and without shortcuts: on photographs of a perfect lens, in patches with gaps and
displacements (gray for the guarded one, as it is used). The claim holds where the open net is the best as trained, and
loses more than the guarded net where the shortcuts are gone, for each seed.

Reference: Doersch, Gupta & Efros 2015, arXiv:1505.05192, section 3.1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.data.sample_images import SAMPLE_IMAGES, sample_image
from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, VERMILION, new_figure, seed_dots
from dlcore.self_supervised.relative_patch import NUM_CLASSES, relative_patch
from experiments.studies.small_runs import minimize

PATCH = 8
"""Side of a patch in pixels, the same for all."""

SPREAD = 0.06
"""By which red is larger and blue smaller than green."""


class Guards(NamedTuple):
    """What keeps a net from shortcuts: pixels between patches and of displacement, own contrast, no color."""

    gap: int
    jitter: int
    by_piece: bool
    gray: bool


ARMS = {"open": Guards(0, 0, False, False), "gaps": Guards(2, 2, True, False), "guarded": Guards(2, 2, True, True)}


class Judge(nn.Module):
    """Two patches [B, 2, P, P, 3] -> logits [B, 8] of the place of the second."""

    @nn.compact
    def __call__(self, patches):
        x = patches.reshape(len(patches), -1)
        for i in range(2):
            x = nn.relu(nn.Dense(256 // (i + 1), name=f"dense{i}")(x))
        return nn.Dense(NUM_CLASSES, name="place")(x)


def lens(image: jax.Array, spread: float, side: int) -> jax.Array:
    """Photograph [S, S, 3] -> [side, side, 3], its middle; red is larger by `spread` and blue smaller."""
    whole, edge = image.shape[0], (image.shape[0] - side) // 2

    def scaled(channel: jax.Array, factor: float) -> jax.Array:
        shift = jnp.full(2, (1 - factor) * whole / 2)
        channel = jax.image.scale_and_translate(
            channel, channel.shape, (0, 1), jnp.full(2, factor), shift, "linear", False
        )
        return channel[edge : edge + side, edge : edge + side]

    return jnp.stack([scaled(image[..., i], factor) for i, factor in enumerate((1 + spread, 1.0, 1 - spread))], -1)


def exercise(key: jax.Array, photo: jax.Array, guards: Guards, spread: float) -> tuple[jax.Array, jax.Array]:
    """(two patches [2, P, P, 3], the place) of a crop [H, W, 3] that is larger than what the lens shows."""
    side = 3 * (PATCH + guards.gap + guards.jitter)
    lens_image = lens(photo, spread, side)
    if guards.gray:
        lens_image = jnp.repeat(lens_image.mean(-1, keepdims=True), 3, -1)
    return relative_patch(guards.gap, guards.jitter, guards.by_piece)(key, {"image": lens_image})


def without_shortcuts(guards: Guards) -> Guards:
    """The patches by which a net is measured: gaps and displacements, in the colors and contrast that it knows."""
    return guards._replace(gap=ARMS["guarded"].gap, jitter=ARMS["guarded"].jitter)


def crops(photo: np.ndarray, rows: slice, count: int, seed: int, side: int = 44) -> np.ndarray:
    """Draw crops [count, side, side, 3] in [0, 1] of some rows of a photograph."""
    rng, part = np.random.default_rng(seed), photo[rows]
    top = rng.integers(0, part.shape[0] - side + 1, count)
    left = rng.integers(0, part.shape[1] - side + 1, count)
    return np.stack([part[y : y + side, x : x + side] for y, x in zip(top, left, strict=True)]).astype(np.float32) / 255


def accuracies(
    guards: Guards, train: np.ndarray, test: np.ndarray, steps: int, batch_size: int, num_seeds: int, rate: float
) -> np.ndarray:
    """Train a net with some guards: [seeds, 2], its accuracy as trained and without shortcuts."""
    net, optimizer = Judge(), optax.adam(optax.cosine_decay_schedule(rate, steps))

    def batch_of(key, photos, guards, spread):
        keys = jax.random.split(key, len(photos))
        return jax.vmap(lambda k, x: exercise(k, x, guards, spread))(keys, photos)

    def accuracy(params, key, guards, spread):
        patches, position = batch_of(key, jnp.asarray(test), guards, spread)
        return (net.apply({"params": params}, patches).argmax(-1) == position).mean()

    def run(key):
        params = net.init(jax.random.fold_in(key, 0), jnp.zeros((1, 2, PATCH, PATCH, 3)))["params"]

        def objective(params, k):
            rows, draw = jax.random.split(jax.random.fold_in(key, k + 1))
            photos = jnp.asarray(train)[jax.random.randint(rows, (batch_size,), 0, len(train))]
            patches, position = batch_of(draw, photos, guards, SPREAD)
            logits = net.apply({"params": params}, patches)
            return optax.softmax_cross_entropy_with_integer_labels(logits, position).mean()

        params, _ = minimize(objective, params, optimizer, jnp.arange(steps))
        asked = jax.random.fold_in(key, 2**31 - 1)
        return jnp.stack(
            [accuracy(params, asked, guards, SPREAD), accuracy(params, asked, without_shortcuts(guards), 0.0)]
        )

    return np.stack([np.asarray(jax.jit(run)(jax.random.key(seed))) for seed in range(num_seeds)])


def report(results: dict[str, np.ndarray]) -> StudyResult:
    """Judge {arm: [seeds, 2]}, accuracies as trained and without shortcuts."""
    accuracy_loss = {arm: values[:, 0] - values[:, 1] for arm, values in results.items()}
    best = all((results["open"][:, 0] > results[arm][:, 0]).all() for arm in ARMS if arm != "open")
    holds = bool(best and (accuracy_loss["open"] > accuracy_loss["guarded"]).all())
    summary = "; ".join(
        f"{arm}: {100 * values[:, 0].mean():.1f}% as trained, {100 * values[:, 1].mean():.1f}% without shortcuts"
        for arm, values in results.items()
    )
    verdict = (
        f"{summary} (chance {100 / NUM_CLASSES:.1f}%). The open net {'lives' if holds else 'does NOT live'} by "
        f"shortcuts: it loses {100 * accuracy_loss['open'].mean():.1f} points where they are gone, the guarded one "
        f"{100 * accuracy_loss['guarded'].mean():.1f}."
    )
    numbers = {
        f"accuracy, {arm}, {when}": values[:, i].tolist()
        for arm, values in results.items()
        for i, when in enumerate(("as trained", "without shortcuts"))
    }
    headline = Headline(
        "accuracy that the open net owes to shortcuts", accuracy_loss["open"] - accuracy_loss["guarded"], "photographs"
    )
    return StudyResult(numbers, verdict, {"accuracy": draw(results)}, holds, headline)


def draw(results: dict[str, np.ndarray]):
    figure, axes = new_figure((5.0, 3.4), grid="y")
    for i, (when, color) in enumerate((("as trained", BLUE), ("without shortcuts", VERMILION))):
        groups = {arm: values[:, i] for arm, values in results.items()}
        seed_dots(axes, groups, color, scale=100, label=when, shift=0.16 * (2 * i - 1))
    axes.axhline(100 / NUM_CLASSES, color="gray", ls=":", lw=1, label="chance")
    axes.set(ylabel="places told, %")
    axes.legend(frameon=False)
    return figure


def study(
    *,
    num_seeds: PositiveInt = 3,
    steps: PositiveInt = 3000,
    batch_size: PositiveInt = 64,
    num_crops: PositiveInt = 4000,
    learning_rate: NonNegativeFloat = 1e-3,
) -> StudyResult:
    """Measure what a pretext's shortcuts are worth.

    Args:
      num_crops: parts of two photographs to train on; a quarter as many, of other rows, to test.
      learning_rate: learning rate of Adam, at first.
    """
    photos = [sample_image(name, 427) for name in SAMPLE_IMAGES]
    train, test = (
        np.concatenate([crops(photo, rows, count // 2, seed) for seed, photo in enumerate(photos)])
        for rows, count in ((slice(0, 300), num_crops), (slice(300, None), num_crops // 4))
    )
    return report(
        {
            arm: accuracies(guards, train, test, steps, batch_size, num_seeds, learning_rate)
            for arm, guards in ARMS.items()
        }
    )


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "steps": 3, "batch_size": 4, "num_crops": 16})

if __name__ == "__main__":
    main(experiment)
