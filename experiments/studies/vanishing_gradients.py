"""How gradients vanish and explode on their way down thirty layers, and what cures it.

python -m experiments.studies.vanishing_gradients

A perceptron of thirty layers of 64 on digits, at initialization: the norm of the loss's gradient by each layer's
kernel. With sigmoids and Xavier's weights it vanishes, ReLUs with He's keep it, residual blocks give every layer a
short path to the loss. Batch norm works whatever the weights' size, but makes the gradient itself grow, by about 1.2x a
layer (Yang et al. 2019), so that it is no cure by depth alone. Weights a quarter too large make ReLUs explode; clipping
the gradient's norm, or a lower learning rate, lets such a net train where plain gradient descent ends in NaN.

References: Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks"; Yang et
al. 2019, arXiv:1902.08129 (batch norm).

Measured over three seeds, the first layer's gradient over the last's: sigmoid 3e-19 to 8e-19, ReLU 0.7 to 2.1, batch
norm 190 to 260, residual 0.2 to 0.34. The exploding net ends at loss 4.5e-5 clipped, at 0.38 at the lower learning
rate, and at NaN without either.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Study, StudyResult
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.main import main
from dlcore.nn import initializers
from dlcore.report.figure import BLACK, BLUE, GREEN, ORANGE, PINK, VERMILION, new_figure, seed_lines
from experiments.studies.small_runs import minimize, shuffled_digits

BANDS = {"sigmoid": (0.0, 1e-6), "ReLU": (0.1, 10.0), "batch norm": (10.0, 1000.0), "residual": (0.1, 10.0)}
"""Between which the gradient of the first layer over that of the last lies."""

COLORS = {"sigmoid": VERMILION, "ReLU": BLUE, "batch norm": GREEN, "residual": PINK, "exploding": BLACK}


class Deep(NamedTuple):
    """A perceptron of `depth` layers of one kind, without biases; as wide as its inputs, so that layers are stacked."""

    kind: str
    depth: int = 30
    gain: float = 1.0

    def init(self, key: jax.Array, width: int) -> dict[str, jax.Array]:
        """Initialize kernels [depth, width, width] and head [width, 10]."""
        init = initializers.xavier_normal() if self.kind == "sigmoid" else initializers.kaiming_normal()
        keys = jax.random.split(key, self.depth + 1)
        kernels = self.gain * jax.vmap(lambda k: init(k, (width, width)))(keys[1:])
        return {"kernels": kernels, "head": initializers.xavier_normal()(keys[0], (width, 10))}

    def apply(self, params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        """Map x [B, width] to logits [B, 10]; batch norm uses the batch's statistics."""

        def layer(x, kernel):
            y = x @ kernel
            if self.kind == "sigmoid":
                return jax.nn.sigmoid(y), None
            if self.kind == "batch norm":
                return jax.nn.relu((y - y.mean(0)) * jax.lax.rsqrt(y.var(0) + 1e-5)), None
            if self.kind == "residual":
                return x + jax.nn.relu(y) / np.sqrt(self.depth), None
            return jax.nn.relu(y), None

        return jax.lax.scan(layer, x, params["kernels"])[0] @ params["head"]


def objective(net: Deep, images: jax.Array, labels: jax.Array):
    """Make a function from parameters to the mean loss over the images [B, width]."""

    def loss(params):
        return softmax_cross_entropy_loss(net.apply(params, images), labels).mean()

    return loss


def gradient_norms(net: Deep, images, labels, num_seeds: int) -> np.ndarray:
    """Compute the norms [seeds, depth] of the gradients of the layers' kernels at the start."""

    @jax.jit
    @jax.vmap
    def norms(key):
        gradient = jax.grad(objective(net, images, labels))(net.init(key, images.shape[1]))
        kernels = gradient["kernels"]
        largest = jnp.maximum(jnp.abs(kernels).max((1, 2)), jnp.finfo(kernels.dtype).tiny)  # squares would underflow
        return largest * jnp.linalg.norm(kernels / largest[:, None, None], axis=(1, 2))

    return np.asarray(norms(jax.random.split(jax.random.key(0), num_seeds)))


def losses_of(net: Deep, images, labels, optimizer, steps: int, num_seeds: int) -> np.ndarray:
    """Train by full-batch descent: losses [seeds, steps + 1]."""

    @jax.jit
    @jax.vmap
    def run(key):
        loss = objective(net, images, labels)
        params = net.init(key, images.shape[1])

        return minimize(lambda params, _: loss(params), params, optimizer, jnp.arange(steps + 1))[1]

    return np.asarray(run(jax.random.split(jax.random.key(0), num_seeds)))


def report(norms: dict[str, np.ndarray], curves: dict[str, np.ndarray]) -> StudyResult:
    """Judge norms {kind: [seeds, depth]} and curves {way to train the exploding net: [seeds, steps + 1]}."""
    ratios = {name: n[:, 0] / np.maximum(n[:, -1], 1e-30) for name, n in norms.items()}
    inside = {name: bool(((ratios[name] >= low) & (ratios[name] <= high)).all()) for name, (low, high) in BANDS.items()}
    size = {name: float(np.median(n)) for name, n in norms.items()}
    explodes = bool(size["exploding"] > 100 * size["ReLU"])
    ended = {name: c[:, -1] for name, c in curves.items()}
    fell = {name: bool((np.isfinite(e) & (e < 0.5 * np.log(10))).all()) for name, e in ended.items()}
    cured = not fell["plain"] and fell["clipped"] and fell["lower rate"]
    fractions_text = "; ".join(
        f"{name} {ratios[name].min():.2g} to {ratios[name].max():.2g} ({'in' if inside[name] else 'NOT in'} the band "
        f"{low:g} to {high:g})"
        for name, (low, high) in BANDS.items()
    )
    verdict = (
        f"First layer's gradient over the last's: {fractions_text}. With larger weights the median gradient is "
        f"{size['exploding'] / max(size['ReLU'], 1e-30):.2g} times the ReLU net's. It ends at loss "
        f"{_loss_text(ended['plain'])} by plain descent, {_loss_text(ended['clipped'])} clipped and "
        f"{_loss_text(ended['lower rate'])} at a lower rate: {'cured' if cured else 'NOT cured'} by both."
    )
    numbers = {f"gradient norm by layer, {name}": n.mean(0).tolist() for name, n in norms.items()}
    numbers |= {f"first over last, {name}": r.tolist() for name, r in ratios.items()}
    numbers |= {f"final loss, exploding, {name}": e.tolist() for name, e in ended.items()}
    headline = Headline("gradient of the first layer over the last's, residual", ratios["residual"], "digits")
    figures = {"gradients": draw(norms, curves)}
    return StudyResult(numbers, verdict, figures, all(inside.values()) and explodes and cured, headline)


def _loss_text(losses: np.ndarray) -> str:
    return "NaN" if not np.isfinite(losses).all() else f"{losses.mean():.2g}"


def draw(norms, curves):
    figure, (left, right) = new_figure((10, 3.9), 1, 2, grid="both")
    for name, n in norms.items():
        seed_lines(left, np.maximum(n, 1e-30), COLORS[name], name)
    left.set(yscale="log", xlabel="layer, from the input", ylabel="gradient norm of its kernel", title="At the start")
    left.legend(frameon=False)
    for (name, c), color in zip(curves.items(), (BLACK, BLUE, ORANGE), strict=True):
        seed_lines(right, np.where(np.isfinite(c), c, np.nan), color, name)
    right.set(xlabel="step", ylabel="training loss", title="Training the exploding net", yscale="log", ylim=(0.1, 1e4))
    right.legend(frameon=False)
    return figure


def study(
    *,
    num_seeds: PositiveInt = 3,
    depth: PositiveInt = 30,
    steps: PositiveInt = 1500,
    num_examples: PositiveInt = 256,
    gain: float = 1.25,
    learning_rate: NonNegativeFloat = 0.03,
    lower_learning_rate: float = 3e-4,
    clip_norm: float = 1.0,
) -> StudyResult:
    """Measure gradient norms by layer of five nets, and train the exploding one in three ways.

    Args:
      depth: layers before the head.
      steps: steps of full-batch gradient descent.
      gain: factor of He's weights at which the network explodes.
      learning_rate: learning rate of plain and of clipped descent.
      lower_learning_rate: learning rate at which plain descent should train the exploding network.
      clip_norm: largest norm of a step's gradient in clipped descent.
    """
    data = shuffled_digits()
    images = jnp.asarray(data.images[:num_examples], jnp.float32).reshape(-1, 64)
    labels = jnp.asarray(data.labels[:num_examples])
    nets = {kind: Deep(kind, depth, gain if kind == "exploding" else 1.0) for kind in (*BANDS, "exploding")}
    norms = {kind: gradient_norms(net, images, labels, num_seeds) for kind, net in nets.items()}
    ways = {
        "plain": optax.sgd(learning_rate),
        "clipped": optax.chain(optax.clip_by_global_norm(clip_norm), optax.sgd(learning_rate)),
        "lower rate": optax.sgd(lower_learning_rate),
    }
    curves = {name: losses_of(nets["exploding"], images, labels, way, steps, num_seeds) for name, way in ways.items()}
    return report(norms, curves)


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "steps": 5, "num_examples": 32})

if __name__ == "__main__":
    main(experiment)
