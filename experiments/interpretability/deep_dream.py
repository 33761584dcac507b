"""DeepDream: amplify what the layers of a network see in a photograph, by gradient ascent.

python -m experiments.interpretability.deep_dream        (the mean square of relu3_2 grows 11-fold in 25 s)
python -m experiments.interpretability.deep_dream --layer=relu2_2 --octaves=2
python -m experiments.interpretability.deep_dream --image=PHOTO --height=320 --network=weights/resnet50 --layer=layer3

The network is the small VGG of CIFAR-10 that dlcore ships, or any of yours with maps (`--network`). The report shows
the photograph before and after, and the mean square of the layer's output by step: it rises at every step that is
taken, on each copy of the image from small to whole.

Reference: Mordvintsev, Olah & Tyka 2015, "Inceptionism: going deeper into neural networks".
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.sample_images import sample_image
from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Range, Seed, Study, StudyResult
from dlcore.interpretability.deep_dream import deep_dream, squared_norm
from dlcore.main import main
from dlcore.report.figure import PALETTE, new_figure, show_image
from dlcore.weights.network import check_studied, load_network, open_classifier


def study(
    *,
    image: str = "flower",
    height: Annotated[int, Range(32)] = 240,
    network: str | None = None,
    layer: str = "relu3_2",
    octaves: PositiveInt = 4,
    scale: Annotated[float, Range(1.01)] = 1.4,
    steps: PositiveInt = 12,
    step_size: NonNegativeFloat = 0.015,
    jitter: Annotated[int, Range(0)] = 8,
    seed: Seed = 0,
) -> StudyResult:
    """Dream on a photograph.

    Args:
      image: photograph: china, flower or an image file.
      height: height that the photograph is scaled to, in pixels.
      network: a run's folder, a folder of `dlcore convert` or a packed .npz; by default the VGG that dlcore ships.
      layer: layer whose output grows.
      octaves: copies of the image, from small to whole.
      scale: factor from one copy to the next.
      steps: steps of gradient ascent on each copy.
      step_size: mean change of a pixel in a step, in [0, 1].
      jitter: largest shift before each step, in pixels.
    """
    check_studied(open_classifier(network, "network"))
    trained = load_network(network, channels=3)
    before = jnp.asarray(sample_image(image, height), jnp.float32) / 255
    mean, std = jnp.asarray(trained.mean), jnp.asarray(trained.std)

    def features(x):
        return trained.model.apply(trained.variables, ((x - mean) / std)[None], method="features")

    layers = jax.eval_shape(features, before)
    if layer not in layers:
        raise ValueError(f"layer={layer!r}: unknown; allowed: {', '.join(layers)}")

    def norm(x):
        return squared_norm(features(x)[layer])

    settings = {"octaves": octaves, "scale": scale, "steps": steps, "step_size": step_size, "jitter": jitter}
    after, values = deep_dream(norm, before, jax.random.key(seed), **settings)
    first, last = (float(jax.jit(norm)(x)) for x in (before, after))
    taken = float(np.mean([risen[:, 1] > risen[:, 0] for risen in values]))
    numbers = {"mean square before": first, "mean square after": last, "share of steps taken": taken}
    change = float(jnp.abs(after - before).mean())
    numbers["mean change of a pixel"] = change
    verdict = (
        f"The mean square of {layer} grew {last / max(first, 1e-12):.1f}-fold, from {first:.3g} to {last:.3g}, over "
        f"{len(values)} octaves of {steps} steps, {taken:.0%} of which were taken; a pixel changed by {change:.2f} on "
        "average."
    )
    headline = Headline(f"growth of the mean square of {layer}", last / max(first, 1e-12), image, tolerance=0.05)
    return StudyResult(numbers, verdict, draw(before, after, values), headline=headline)


def draw(before: jax.Array, after: jax.Array, values: list[jax.Array]) -> dict:
    """The photograph before and after, and the mean square by step."""
    pair, axes = new_figure((10, 10 * before.shape[0] / before.shape[1] / 2 + 0.4), 1, 2)
    for ax, picture, title in zip(axes, (before, after), ("photograph", "dream"), strict=True):
        show_image(ax, np.asarray(picture), title)
    curves, ax = new_figure((6, 3.4))
    for number, risen in enumerate(values):
        steps = np.arange(1, len(risen) + 1)
        ax.plot(steps, risen[:, 1], color=PALETTE[number % len(PALETTE)], label=f"octave {number + 1}")
    ax.set(xlabel="step", ylabel="mean square of the layer", ylim=(0, None))
    ax.legend(frameon=False, fontsize=8)
    return {"dream": pair, "mean square": curves}


experiment = Study(__file__, __doc__, study, smoke={"height": 48, "octaves": 2, "steps": 2})

if __name__ == "__main__":
    main(experiment)
