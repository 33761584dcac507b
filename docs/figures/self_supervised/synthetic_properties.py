"""Figure of dlcore.self_supervised.synthetic_properties; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.data.factor_shapes import factor_shapes, simulate_camera
from dlcore.nn import Dense
from dlcore.report.figure import BLUE, VERMILION, new_figure, show_image
from dlcore.self_supervised.synthetic_properties import learner
from dlcore.transfer.gradient_reversal import DomainClassifier

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["synthetic_properties"]


def synthetic_properties() -> "Figure":
    """Renderings (upper row), simulated photographs, and what reversal of a gradient changes.

    Middle and right: a toy with two inputs: one tells the shape in both worlds, a cleaner one in renderings alone.
    Without reversal (red) two thirds of the shapes of photographs are found. With it (blue) the worlds are harder to
    tell apart, the network turns to the input that both share, and finds 89 %.
    """
    figure, (left, middle, right) = new_figure((7, 2.6), 1, 3, width_ratios=[1.1, 1, 1])
    images = factor_shapes(4).arrays["image"]
    rows = np.stack([images, simulate_camera(images)])[..., 0]
    rows = np.pad(rows, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=1)
    show_image(left, rows.swapaxes(1, 2).reshape(36, 72), cmap="gray", vmin=0, vmax=1)
    for adversary, color, style, label in ((0.0, VERMILION, "--", "no reversal"), (1.0, BLUE, "-", "reversal")):
        domain, shape = training(adversary)
        middle.plot(np.arange(5, 400, 10), domain, style, color=color, label=label)
        right.plot(np.arange(5, 400, 10), shape, style, color=color, label=label)
    middle.set(xlabel="step", ylabel="domain recognized (%)", ylim=(30, 102))
    right.set(xlabel="step", ylabel="shape of photographs (%)", ylim=(30, 102))
    right.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


class ToyNet(nn.Module):
    """A `PropertyNet` of two numbers in place of an image."""

    @nn.compact
    def __call__(self, x: jax.Array, strength: float | jax.Array = 1.0) -> dict[str, jax.Array]:
        """[B, 2] to the outputs of `PropertyNet`."""
        features = Dense(2, name="encoder")(x)
        domain = DomainClassifier(16, name="domain")(features, strength)
        return {"features": features, "shape": Dense(2)(features), "factors": Dense(1)(features), "domain": domain}


def toy_batch(key: jax.Array) -> dict[str, jax.Array]:
    """Renderings, whose second input tells the shape best, and photographs, where it says nothing of the shape."""
    keys = jax.random.split(key, 3)
    label, photo_label = jax.random.bernoulli(keys[0], 0.5, (2, 128)).astype(jnp.int32)
    noise, photo_noise = jax.random.normal(keys[1], (2, 128, 2))
    image = jnp.stack([2 * label - 1 + 0.8 * noise[:, 0], 2 * label - 1 + 0.3 * noise[:, 1]], -1)
    photo = jnp.stack([2 * photo_label - 1 + 0.8 * photo_noise[:, 0], 0.3 * photo_noise[:, 1]], -1)
    names = {"image": image, "photo": photo, "label": label, "photo_label": photo_label, "index": jnp.arange(128)}
    return names | dict.fromkeys(("factors", "photo_factors"), jnp.zeros((128, 1)))


@jax.jit
def training(adversary: float) -> tuple[jax.Array, jax.Array]:
    """Percent of recognized domains, and of recognized shapes of photographs, means of 10 of 400 steps."""
    task = learner(
        model=ToyNet(),
        optimizer=optax.adam(0.01),
        strength=lambda step: adversary,
        factor_scale=jnp.ones(1),
    )

    def step(state, key):
        state, _ = task.update(state, toy_batch(key))
        metrics = task.evaluate(state, toy_batch(jax.random.fold_in(key, 1)))
        shares = [metrics[name] for name in ("domain_accuracy", "photo_accuracy")]
        return state, [100 * share.total / share.count for share in shares]

    keys = jax.random.split(jax.random.key(0), 400)
    shares = jax.lax.scan(step, task.init(keys[0], toy_batch(keys[0])), keys)[1]
    return tuple(share.reshape(40, 10).mean(1) for share in shares)
