"""Figure of dlcore.detection.localization; its docstring is the caption."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.data.scenes import SHAPES, scenes
from dlcore.detection.localization import Localizer, learner, mean_size_boxes
from dlcore.learner import Learner
from dlcore.ops.boxes import box_iou
from dlcore.report.figure import BLUE, GRAY, new_figure, show_image
from experiments.figure_parts import draw_boxes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["localization"]


def localization() -> "Figure":
    """One network that locates a single object, after 200 steps on scenes of one shape.

    Left: predicted box (blue) and true box (white, dashed). Second: weights of the locations, which gather at the
    shape. Third: with two shapes there still is one box. Right: overlap on new scenes by step, and that of a box of
    mean size in the center (gray).
    """
    figure, (left, second, third, right) = new_figure((7.4, 2.2), 1, 4, width_ratios=(1, 1, 1, 1.7))
    settings = {"size": 32, "smallest": 8, "largest": 16, "empty": 0}
    batch = scenes(1024, max_boxes=1, **settings).arrays | {"index": np.arange(1024, dtype=np.int32)}
    model = Localizer(_Backbone(), len(SHAPES), channels=32)
    learned = learner(model=model, optimizer=optax.adam(5e-3), preprocess=lambda x: x.astype(jnp.float32) / 128 - 1)
    state, (steps, overlaps) = _train(learned, batch)
    two = scenes(40, 1, max_boxes=2, **settings).arrays
    number = int(np.argmax(two["box_mask"].sum(1)))
    for ax, source, chosen in ((left, batch, 0), (third, two, number)):
        show_image(ax, source["image"][chosen])
        found = learned.predict(state, {"image": source["image"][chosen : chosen + 1]})["boxes"][0]
        draw_boxes(ax, found - 0.5, BLUE, width=2)
        draw_boxes(ax, source["boxes"][chosen] - 0.5, "white", "--", 1.5)
    images = batch["image"][:1].astype(np.float32) / 128 - 1
    _, seen = model.apply(
        {"params": state.params}, images, capture_intermediates=lambda m, _: m.name == "weight", mutable="intermediates"
    )
    (logits,) = seen["intermediates"]["weight"]["__call__"]
    show_image(second, jax.nn.softmax(logits[0, ..., 0], (0, 1)), cmap="Blues")
    right.plot(steps, overlaps, "o-", color=BLUE, markersize=3)
    middle = mean_size_boxes(jnp.asarray(batch["boxes"][128:, 0]), (32, 32))
    right.axhline(float(box_iou(middle[None], jnp.asarray(batch["boxes"][:128, 0])).mean()), color=GRAY, linestyle="--")
    right.set(xlabel="step", ylabel="overlap (IoU)", ylim=(0, 1))
    return figure


def _train(learned: Learner, batch: dict, steps: int = 200) -> tuple[Any, np.ndarray]:
    """State after training without the first 128 scenes, and (steps, overlaps on these)."""
    new = jax.tree.map(lambda x: x[:128], batch)
    state = learned.init(jax.random.key(0), new)
    update, evaluate = jax.jit(learned.update), jax.jit(learned.evaluate)
    rng, curve = np.random.default_rng(0), []
    for step in range(steps + 1):
        if step % 25 == 0:
            curve.append((step, evaluate(state, new)["iou"].compute()))
        at = rng.integers(128, len(batch["index"]), 64)
        state, _ = update(state, jax.tree.map(lambda x, at=at: x[at], batch))
    return state, np.array(curve).T


class _Backbone(nn.Module):
    """Three convolutions to a map of 8 by 8."""

    @nn.compact
    def features(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        for width, size, stride in ((16, 4, 4), (32, 3, 1), (32, 3, 1)):
            x = nn.relu(nn.Conv(width, (size, size), stride)(x))
        return {"stage4": x}
