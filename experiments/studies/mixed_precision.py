"""Half the bits: bfloat16 trains as float32 does, float16 needs its loss scaled.

python -m experiments.studies.mixed_precision

Perceptrons of four hidden layers on digits by SGD with momentum; weights and updates are float32, products are computed
in the named format, and logits and loss in float32. The loss is divided by 1, 4,096 and 65,536, so that gradients are
as small as those of large batches and deep networks, and the learning rate is multiplied by the same number. Lost
gradients are those that are zero at the first step beyond float32's (ReLU's). The claim holds where the mean training
loss over the run is within 5 % of float32's in bfloat16 and in scaled float16 for every divisor, and not in plain
float16 for the largest. (The loss of the last steps is no measure: it is 0.001 there, all examples are memorized, and
seeds differ by more than 10 %.)

Reference: Micikevicius et al. 2018, arXiv:1710.03740.

Measured over five seeds (30 s on two cores): it holds. bfloat16 is within 0.1 % of float32's mean loss throughout.
float16 differs by 0.7 % at a divisor of 1 and by 1.8 % at 4,096, where 10.5 % of its first gradients are lost and its
loss stops falling late; at 65,536, where 77 % are lost, it learns nothing. Scaled it differs by 0.8, 3.4 and 1.1 % and
loses none.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.optim import dynamic_loss_scale, loss_scale
from dlcore.report.figure import BLUE, GREEN, LIGHT_GRAY, VERMILION, new_figure
from experiments.studies.small_runs import shuffled_digits

FORMATS = {
    "float32": (jnp.float32, False),
    "bfloat16": (jnp.bfloat16, False),
    "float16": (jnp.float16, False),
    "float16, scaled": (jnp.float16, True),
}
COLORS = {"float32": LIGHT_GRAY, "bfloat16": BLUE, "float16": VERMILION, "float16, scaled": GREEN}


class Net(nn.Module):
    """Hidden layers with ReLU and a head; products in `dtype`, logits float32."""

    dtype: jnp.dtype
    depth: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Images [B, ...] -> logits [B, 10]."""
        x = x.reshape(x.shape[0], -1)
        for i in range(self.depth):
            x = nn.relu(nn.Dense(128, dtype=self.dtype, kernel_init=nn.initializers.he_normal(), name=f"dense{i}")(x))
        return nn.Dense(10, dtype=self.dtype, name="head")(x).astype(jnp.float32)


def optimizer(learning_rate: float, small: float, scaled: bool) -> optax.GradientTransformation:
    """Make SGD that undoes the division of the loss by `small`, as a larger learning rate would."""
    inner = optax.chain(optax.scale(small), optax.sgd(learning_rate, momentum=0.9))
    return dynamic_loss_scale(inner, period=100) if scaled else inner


def run(name: str, key: jax.Array, depth: int, steps: int, batch_size: int, learning_rate: float, small: float) -> dict:
    """Train once: losses [steps], the share of zero gradients at the first step, and the loss scale at the end."""
    dtype, scaled = FORMATS[name]
    data = shuffled_digits()
    images, labels = jnp.asarray(data.images, jnp.float32), jnp.asarray(data.labels)
    net, tx = Net(dtype, depth), optimizer(learning_rate, small, scaled)

    def loss(params: dict, scale: jax.Array, index: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = net.apply({"params": params}, images[index])
        value = optax.softmax_cross_entropy_with_integer_labels(logits, labels[index]).mean()
        return value / small * scale, value

    def step(carry: tuple, key: jax.Array) -> tuple[tuple, tuple]:
        params, state = carry
        index = jax.random.randint(key, (batch_size,), 0, len(labels))
        gradient, value = jax.grad(loss, has_aux=True)(params, loss_scale(state), index)
        updates, state = tx.update(gradient, state, params)
        zeros = sum((g == 0).sum() for g in jax.tree.leaves(gradient))
        return (optax.apply_updates(params, updates), state), (value, zeros)

    params = net.init(key, images[:1])["params"]
    count = sum(x.size for x in jax.tree.leaves(params))
    (_, state), (losses, zeros) = jax.lax.scan(step, (params, tx.init(params)), jax.random.split(key, steps))
    return {"losses": losses, "zeros": zeros[0] / count, "scale": loss_scale(state)}


def study(
    *,
    num_seeds: PositiveInt = 5,
    steps: PositiveInt = 300,
    depth: PositiveInt = 4,
    batch_size: PositiveInt = 128,
    learning_rate: NonNegativeFloat = 0.05,
    loss_divisors: tuple[float, ...] = (1.0, 4096.0, 65536.0),
) -> StudyResult:
    """Train in each format from the same weights on the same batches.

    Args:
      num_seeds: runs of each format and divisor.
      depth: hidden layers of 128 units.
      learning_rate: learning rate of SGD with momentum, for the undivided loss.
      loss_divisors: numbers that the loss is divided by, rising.
    """
    keys = jax.random.split(jax.random.key(0), num_seeds)
    runs = {name: all_runs(name, keys, loss_divisors, depth, steps, batch_size, learning_rate) for name in FORMATS}
    return report(runs, loss_divisors)


def all_runs(
    name: str,
    keys: jax.Array,
    loss_divisors: tuple[float, ...],
    depth: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
) -> dict[str, np.ndarray]:
    """Map `run` in one format over divisors and keys: [divisors, keys, ...]."""

    def one(small, key):
        return run(name, key, depth, steps, batch_size, learning_rate, small)

    all_runs = jax.jit(jax.vmap(lambda small: jax.vmap(lambda key: one(small, key))(keys)))
    return jax.tree.map(lambda x: np.asarray(x, np.float64), all_runs(jnp.asarray(loss_divisors, jnp.float32)))


def report(runs: dict[str, dict[str, np.ndarray]], loss_divisors: tuple[float, ...]) -> StudyResult:
    """Judge the runs of every format: losses [divisors, seeds, steps], zeros and scale [divisors, seeds]."""
    means = {name: f["losses"].mean((1, 2)) for name, f in runs.items()}
    gaps = {name: (means[name] / means["float32"] - 1).tolist() for name in FORMATS}
    underflow = {name: (f["zeros"] - runs["float32"]["zeros"]).mean(1).tolist() for name, f in runs.items()}
    holds = max(map(abs, gaps["bfloat16"] + gaps["float16, scaled"])) <= 0.05 < gaps["float16"][-1]
    verdict = f"{'It holds' if holds else 'It does not hold'}."
    for i, divisor in enumerate(loss_divisors):
        verdict += (
            f" Loss over {divisor:,.0f}, mean training loss against float32's: bfloat16 {gaps['bfloat16'][i]:+.1%}, "
            f"float16 {gaps['float16'][i]:+.1%} ({underflow['float16'][i]:.1%} of the first gradients lost), scaled "
            f"float16 {gaps['float16, scaled'][i]:+.1%} ({underflow['float16, scaled'][i]:.1%})."
        )
    numbers = {"mean loss": {name: m.tolist() for name, m in means.items()}, "gap": gaps, "lost gradients": underflow}
    headline = Headline(
        "mean training loss at the largest divisor, scaled float16 over float32",
        runs["float16, scaled"]["losses"][-1].mean(1) / runs["float32"]["losses"][-1].mean(1),
        "digits",
    )
    return StudyResult(numbers, verdict, {"losses": figure(runs, loss_divisors)}, holds, headline)


def figure(runs: dict, loss_divisors: tuple[float, ...]):
    """Draw training losses along the runs, a panel a divisor."""
    drawing, panels = new_figure((4 * len(loss_divisors), 3.6), 1, len(loss_divisors), sharey=True, squeeze=False)
    panels = panels[0]
    for i, (axes, divisor) in enumerate(zip(panels, loss_divisors, strict=True)):
        for name, f in runs.items():
            smooth = np.convolve(f["losses"][i].mean(0), np.ones(9) / 9, "valid")
            style = {"float32": "-", "bfloat16": "--"}.get(name, "-")
            width = 3.5 if name == "float32" else 1.6
            axes.plot(np.arange(len(smooth)) + 5, smooth, style, color=COLORS[name], label=name, linewidth=width)
        axes.set(xlabel="step", yscale="log", title=f"loss divided by {divisor:,.0f}")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("training loss")
    panels[0].legend(frameon=False)
    return drawing


SMOKE = {"num_seeds": 1, "steps": 10, "depth": 1, "batch_size": 8, "loss_divisors": (1.0, 65536.0)}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)
