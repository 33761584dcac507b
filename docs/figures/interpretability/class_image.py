"""Figure of dlcore.interpretability.class_image; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.interpretability.class_image import ImageRegularization, learner
from dlcore.report.figure import BLUE, VERMILION, new_figure, show_image
from dlcore.weights.network import load_network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["class_image"]


def class_image() -> "Figure":
    """Images that raise the score of a class of a VGG trained on CIFAR-10, from gray, in 60 steps.

    Plain ascent gives noise. With random shifts and a blur every four steps, neighboring pixels differ a third as much,
    and shapes appear. Right: the mean score of both classes. Noise scores higher (10.0 against 8.2): a high score does
    not mean a picture.
    """
    figure, (*axes, right) = new_figure((7.4, 2.3), 1, 4, width_ratios=(1, 1, 1, 1.5))
    plain, regular = ascended(ImageRegularization(0, 8, 0.0)), ascended(ImageRegularization(2, 4, 0.7))
    names = load_network().class_names
    for ax, image, name in zip(axes, (plain[0][0], *regular[0]), ("plain", "blur", "blur"), strict=True):
        show_image(ax, image, f"{names[1] if ax is not axes[2] else names[7]}, {name}")
    for (_, curve), name, style, color in ((plain, "plain", "--", VERMILION), (regular, "blur and shifts", "-", BLUE)):
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
