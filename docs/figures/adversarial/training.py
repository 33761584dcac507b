"""Figure of dlcore.adversarial.training; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import optax

from dlcore.adversarial.gradient import pgd
from dlcore.adversarial.training import learner
from dlcore.learner import Learner, State
from dlcore.report.figure import BLUE, GRAY, GREEN, new_figure, show_image
from experiments.figure_parts import Perceptron, embedded_digits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["training"]


def training() -> "Figure":
    """Accuracy on attacked digits by the strength of the attack, of three trainings of one network.

    Left: PGD with ten steps. Standard training (gray) falls to 4 percent at a change of 0.15; PGD and TRADES, which
    were trained against changes of that size, keep 65. Right: a digit as it is, and as each network's attack changes it
    by 0.15; the answers are above.
    """
    figure, axes = new_figure((7, 2.4), 1, 4, width_ratios=(2.6, 1, 1, 1))
    images, labels = (jnp.asarray(x) for x in embedded_digits())
    batch = {"image": images[:1000], "label": labels[:1000], "index": jnp.arange(1000)}
    sizes, keys = jnp.linspace(0, 0.3, 7), jax.random.split(jax.random.key(1), 300)
    model = Perceptron(10, 64)
    changed, answers = {}, {}
    looks = {"standard": (GRAY, "o--"), "pgd": (BLUE, "s-"), "trades": (GREEN, "^-.")}
    for defense, (color, style) in looks.items():
        train = learner(model=model, optimizer=optax.adam(1e-2), defense=defense, epsilon=0.15, attack_steps=5)
        run = jax.jit(
            lambda s, train=train: jax.lax.scan(lambda s, _: (train.update(s, batch)[0], None), s, length=80)[0]
        )
        params = {"params": run(train.init(jax.random.key(0), batch)).params}

        @jax.jit
        def attacked(size: jax.Array, params: dict = params) -> jax.Array:
            def attack(key: jax.Array, image: jax.Array, label: jax.Array) -> jax.Array:
                return pgd(lambda x: model.apply(params, x[None])[0], key, image, label, size, size / 5, 10)

            return jax.vmap(attack)(keys, images[1000:1300], labels[1000:1300])

        changed[defense] = jnp.stack([attacked(size) for size in sizes])
        answers[defense] = jax.vmap(lambda x, p=params: model.apply(p, x).argmax(-1))(changed[defense])
        right = 100 * (answers[defense] == labels[1000:1300]).mean(1)
        axes[0].plot(sizes, right, style, color=color, label=defense)
    shown = int(((answers["standard"][3] != labels[1000:1300]) & (answers["pgd"][3] == labels[1000:1300])).argmax())
    for ax, defense, k in zip(axes[1:], ("standard", "standard", "pgd"), (0, 3, 3), strict=True):
        title = f"{defense} says {answers[defense][k, shown]}"
        show_image(ax, changed[defense][k, shown, ..., 0], title, cmap="gray", vmin=0, vmax=1)
    axes[0].set(xlabel="largest change of a pixel", ylabel="accuracy under attack / %")
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def trained(train: Learner, batch: dict, steps: int) -> State:
    """State after updates on one batch."""
    first = train.init(jax.random.key(0), batch)
    return jax.jit(lambda s: jax.lax.scan(lambda s, _: (train.update(s, batch)[0], None), s, length=steps)[0])(first)
