"""Figure of dlcore.classification.hard_attention; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.classification.hard_attention import centers, crop
from dlcore.data.digit_scenes import digit_scenes
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure, show_image
from dlcore.rl.policy_gradient import score_weights
from experiments.figure_parts import draw_boxes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["hard_attention"]


def hard_attention() -> "Figure":
    """Hard attention cuts one glimpse out of a scene; soft attention mixes all glimpses.

    First: scene; larger dots are brighter, likelier places. Second: the glimpse at the likeliest (box). Third: mean of
    all 144 glimpses under the weights, a blur. Right: a right glimpse of four drawn has its reward minus the others'
    mean as weight, so nothing is learned if all are right.
    """
    figure, (first, second, third, right) = new_figure((7, 2.2), 1, 4, width_ratios=(1.2, 1, 1, 1.6))
    scene = jnp.asarray(digit_scenes("train", 16, clutter=4).arrays["image"][12:13]) / 255
    places = centers(12, (60, 60))
    weights = jax.nn.softmax(12 * scene.reshape(12, 5, 12, 5).mean((1, 3)).reshape(-1))
    glimpses = jax.vmap(lambda place: crop(scene, place[None], 21)[0, ..., 0])(places)
    best = weights.argmax()
    show_image(first, scene[0, ..., 0], "scene", cmap="gray", extent=(0, 60, 60, 0))
    first.scatter(*places.T, s=300 * weights, color=VERMILION)
    draw_boxes(first, jnp.concatenate([places[best] - 10.5, places[best] + 10.5])[None], BLUE)
    show_image(second, glimpses[best], "hard glimpse", cmap="gray")
    show_image(third, jnp.einsum("l,lij->ij", weights, glimpses), "soft glimpse", cmap="gray")
    rewards = jnp.tri(4, 4)[:, :, None]
    scores = jax.vmap(score_weights)(rewards)[..., 0]
    count = jnp.arange(1, 5)
    right.plot(count, scores[:, 0], "o-", color=GREEN, label="right glimpse")
    right.plot(count[:3], scores[:3, 3], "s--", color=VERMILION, label="wrong glimpse")
    right.set(xlabel="right ones of 4", ylabel="weight of log a", xticks=count, ylim=(-1.1, 1.9))
    right.legend(frameon=False, fontsize=8)
    return figure
