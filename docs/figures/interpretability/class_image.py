"""Figure of dlcore.interpretability.class_image; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.interpretability.class_image import ImageRegularization, learner
from dlcore.kits.training.pretrained_network import load_network
from dlcore.report.figure import BLUE, VERMILION, new_figure, show_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["class_image"]


def class_image() -> "Figure":
    """Images that raise the score of a class of a VGG trained on CIFAR-10, from gray, in 60 steps.

    Left: plain ascent.
    """
    figure, (*axes, right) = new_figure((7.4, 2.3), 1, 4, width_ratios=(1, 1, 1, 1.5))
    plain, regular = ascended(ImageRegularization(0, 8, 0.0)), ascended(ImageRegularization(2, 4, 0.7))
    names = load_network().class_names
    for ax, (images, _), k, name in zip(
        axes, (plain, regular, regular), (0, 0, 1), ("plain", "blur and shifts", "the same"), strict=True
    ):
        show_image(ax, images[k], f"{names[(1, 7)[k]]}\n{name}")
    for (images, curve), name, style, color in (
        (plain, "plain", "--", VERMILION),
        (regular, "blur and shifts", "-", BLUE),
    ):
        rough = [float(jnp.abs(jnp.diff(images, axis=axis)).mean()) for axis in (1, 2)]
        print(name, curve[-1], rough)
        right.plot(np.arange(1, 61), curve, style, color=color, label=name)
    right.set(xlabel="step", ylabel="score")
    right.legend(frameon=False, fontsize=8)
    return figure


def ascended(regularization: ImageRegularization) -> tuple[jax.Array, np.ndarray]:
    """Images of an automobile and a horse after 60 steps, and the mean of their scores after each."""
    network = load_network()
    train = learner(
        model=network.model,
        variables=network.variables,
        optimizer=optax.adam(0.03),
        mean=network.mean,
        std=network.std,
        regularization=regularization,
    )
    batch = {"label": jnp.array([1, 7]), "index": jnp.arange(2)}

    def step(state, _):
        state = train.update(state, batch)[0]
        score = train.evaluate(state, batch)["score"]
        return state, score.total / score.count

    first = train.init(jax.random.key(0), batch)
    state, scores = jax.jit(lambda state: jax.lax.scan(step, state, length=60))(first)
    return train.predict(state, batch)["image"], np.asarray(scores)
