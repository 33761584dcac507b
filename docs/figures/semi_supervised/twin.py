"""Figure of dlcore.semi_supervised.twin; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np
import optax
from flax import linen as nn

from dlcore.classification import supervised
from dlcore.report.figure import BLACK, BLUE, GRAY, VERMILION, new_figure
from dlcore.semi_supervised import vat
from dlcore.semi_supervised.twin import add_twin

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["twin"]


def twin() -> "Figure":
    """Virtual adversarial training and its supervised twin after 600 steps on 6 labeled points and 300 unlabeled ones.

    Both start from the same weights and see the same labeled points (crosses). Right: the accuracy on 300 further
    points of each, measured in the same run; the difference is what the unlabeled points gain. The radius of VAT, 0.2,
    was chosen among four for this picture.
    """
    from sklearn.datasets import make_moons

    figure, axes = new_figure((7, 2.7), 1, 3, width_ratios=(1, 1, 1.1))
    x, label = (np.asarray(a, t) for a, t in zip(make_moons(600, noise=0.1, random_state=0), ("f4", "i4"), strict=True))
    image, index = x[:, None, None], np.arange(300)
    labeled = np.r_[np.flatnonzero(label == 0)[:3], np.flatnonzero(label == 1)[:3]]
    test = {"image": image[300:], "label": label[300:], "index": index}
    batch = {"labeled": {"image": image[labeled], "label": label[labeled], "index": labeled}}
    batch["unlabeled"] = {"image": image[:300], "index": index}
    parts = {"model": _Network(), "optimizer": optax.adam(0.01)}
    alone = supervised.learner(**parts)
    both = add_twin(vat.learner(**parts, epsilon=0.2), alone)

    def step(state, _):
        state, _ = both.update(state, batch)
        return state, {name: s.total / s.count for name, s in both.evaluate(state, test).items() if "acc" in name}

    state, accuracy = jax.jit(lambda s: jax.lax.scan(step, s, length=600))(both.init(jax.random.key(0), batch))
    a, b = np.meshgrid(np.linspace(-1.5, 2.5, 80), np.linspace(-1, 1.5, 80))
    grid = {"image": np.float32(np.c_[a.ravel(), b.ravel()])[:, None, None], "index": np.arange(6400)}
    names = ("supervised twin", "VAT")
    for ax, name, one in zip(axes, names, state.states[::-1], strict=False):
        p = alone.predict(one, grid)["probabilities"][:, 1].reshape(a.shape)
        ax.contourf(a, b, p, [0, 0.5, 1], colors=[BLUE, VERMILION], alpha=0.15)
        ax.plot(*x[:300].T, ".", color=GRAY, markersize=2)
        ax.scatter(*x[labeled].T, marker="X", s=50, c=np.where(label[labeled], VERMILION, BLUE), edgecolors=BLACK)
        ax.set(xlabel="x1", ylabel="x2", title=name)
    for key, name, color in (("accuracy_supervised", names[0], VERMILION), ("accuracy", names[1], BLUE)):
        axes[2].plot(accuracy[key], color=color, label=name)
    axes[2].set(xlabel="step", ylabel="accuracy", ylim=(0.5, 1.02))
    axes[2].legend(frameon=False, loc="lower right")
    return figure


class _Network(nn.Module):
    """Perceptron of the two moons."""

    @nn.compact
    def __call__(self, x, train=False):
        for _ in range(2):
            x = nn.tanh(nn.Dense(32)(x.reshape(len(x), -1)))
        return nn.Dense(2)(x)
