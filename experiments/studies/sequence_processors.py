"""How many steps does a recurrent network, a convolution and self-attention need until an output sees all inputs?

python -m experiments.studies.sequence_processors

A recurrent layer takes a step a turn of its loop, a stack of causal convolutions and of self-attention a step a layer.
What the last output sees after each step is read off the program (`dlcore.diagnostics.dependence`). The claim holds
where that takes T steps, (T - 1) / (K - 1) rounded up, and 1, at every length T. Beside it stand the time and the
temporary memory of a forward and backward pass, of one layer and of as many as it takes: the steps follow one upon the
other, while the work within a step can be done side by side, at T^2 pairs for attention.

Measured at K = 5: it holds. At T = 1,024 the three take 1,024, 256 and 1 steps, 15, 680 and 143 MB, and on one core of
a shared machine 41 ms, 11 s and 0.59 s; a single convolution takes 6 MB and 28 ms.

References: Vaswani et al. 2017, arXiv:1706.03762, table 1; Bai et al. 2018, arXiv:1803.01271 (causal convolutions).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.diagnostics.dependence import dependence, steps_to_see_all
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.nn import Conv, SelfAttention
from dlcore.nn.recurrent import Recurrent
from dlcore.report.figure import PALETTE, new_figure
from experiments.bench.timing import interleaved


class RecurrentNetwork(nn.Module):
    """A recurrent layer, whose loop takes T turns: x [B, T, C] -> (y [B, T, C], newest state after each turn)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        layer = Recurrent(x.shape[-1], "rnn")
        _, y = layer(layer.initial_carry(x.shape[0]), x)
        return y, y.swapaxes(0, 1)


class CausalConvolution(nn.Module):
    """A layer x [B, T, C] -> (y, y at the last position): output t sees inputs t - K + 1 to t."""

    kernel_size: int

    @nn.compact
    def __call__(self, x: jax.Array, _: Any = None) -> tuple[jax.Array, jax.Array]:
        size = self.kernel_size
        conv = Conv(x.shape[-1], (1, size), padding=((0, 0), (size - 1, 0)), kernel_init=nn.initializers.he_normal())
        x = nn.relu(conv(x[:, None])[:, 0])
        return x, x[:, -1]


class Attention(nn.Module):
    """A layer x [B, T, C] -> (y, y at the last position): every output sees every input."""

    @nn.compact
    def __call__(self, x: jax.Array, _: Any = None) -> tuple[jax.Array, jax.Array]:
        x = x + SelfAttention(x.shape[-1])(x)
        return x, x[:, -1]


class Stack(nn.Module):
    """Layers with weights of their own: x [B, T, C] -> (y [B, T, C], last position after each layer [layers, B, C])."""

    layer: Callable[[], nn.Module]
    layers: int

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        scan = nn.scan(
            lambda module, x, _: module(x), variable_axes={"params": 0}, split_rngs={"params": True}, length=self.layers
        )
        return scan(self.layer(), x, None)


def processors(length: int, kernel_size: int) -> dict[str, tuple[Callable[[int], nn.Module], int, int]]:
    """List the three: name -> (number of layers -> network, most layers that can be needed, the claimed steps)."""
    return {
        "recurrent": (lambda layers: RecurrentNetwork(), 1, length),
        "convolution": (
            lambda layers: Stack(lambda: CausalConvolution(kernel_size), layers),
            length,
            -(-(length - 1) // (kernel_size - 1)),
        ),
        "self-attention": (lambda layers: Stack(Attention, layers), 2, 1),
    }


def steps_of(network: nn.Module, length: int) -> int | None:
    """Read off the program after how many steps the last output sees all inputs; two channels tell as much as many."""

    def states(x: jax.Array) -> jax.Array:
        (_, after_each_step), _ = network.init_with_output(jax.random.key(0), x[None])
        return after_each_step

    return steps_to_see_all(dependence(states, jax.ShapeDtypeStruct((length, 2), jnp.float32)))


def gradient(network: nn.Module, batch_size: int, length: int, width: int) -> tuple[Callable[[], Any], float]:
    """Compile the gradient of the mean square of all outputs: (a call of it, MB of temporaries)."""
    x = jax.random.normal(jax.random.key(1), (batch_size, length, width))
    params = jax.jit(network.init)(jax.random.key(0), x)
    program = jax.jit(jax.grad(lambda params, x: (network.apply(params, x)[0] ** 2).mean())).lower(params, x).compile()
    return lambda: program(params, x), program.memory_analysis().temp_size_in_bytes / 1e6


def report(rows: dict[str, dict[int, dict[str, Any]]]) -> StudyResult:
    """Judge {name: {length: {"steps", "claimed", "ms a layer", "MB a layer", "ms", "MB"}}}."""
    holds = all(row["steps"] == row["claimed"] for by_length in rows.values() for row in by_length.values())
    numbers = {
        f"{name}, T={length}: {what}": value
        for name, by_length in rows.items()
        for length, row in by_length.items()
        for what, value in row.items()
        if what != "claimed"
    }
    longest = max(next(iter(rows.values())))
    last = {name: by_length[longest] for name, by_length in rows.items()}
    verdict = f"The steps are {'' if holds else 'NOT '}those claimed. At T = {longest} " + "; ".join(
        f"{name}: {row['steps']} steps, {row['ms']:.3g} ms, {row['MB']:.3g} MB" for name, row in last.items()
    )
    steps = float(last["convolution"]["steps"] or np.nan)
    headline = Headline(f"steps of a convolution until it sees {longest} inputs", steps, "shapes", 0.0)
    return StudyResult(numbers, verdict + ".", {"cost": draw(rows)}, holds, headline)


def draw(rows):
    figure, axes = new_figure((10, 3.2), columns=3, grid="both")
    for (name, by_length), color in zip(rows.items(), PALETTE, strict=False):
        for axis, what in zip(axes, ("steps", "ms", "MB"), strict=True):
            axis.loglog(list(by_length), [row[what] for row in by_length.values()], "o-", color=color, label=name)
            if what != "steps":
                layer = [row[f"{what} a layer"] for row in by_length.values()]
                axis.loglog(list(by_length), layer, "o:", color=color, alpha=0.5)
    for axis, label in zip(axes, ("steps until all is seen", "ms, forward and backward", "MB"), strict=True):
        axis.set(xlabel="inputs T", ylabel=label)
    axes[0].legend(frameon=False)
    axes[1].set_title("dotted: one layer", fontsize=9)
    return figure


def study(
    *,
    lengths: tuple[PositiveInt, ...] = (64, 128, 256, 512, 1024),
    kernel_size: PositiveInt = 5,
    batch_size: PositiveInt = 8,
    width: PositiveInt = 64,
    num_repeats: PositiveInt = 5,
) -> StudyResult:
    """Count the steps of three sequence processors, and measure what they cost.

    Args:
      lengths: inputs T of a sequence.
      kernel_size: K, taps of the convolution.
      batch_size: sequences of a timed pass.
      width: channels of a timed pass.
      num_repeats: timed passes of each, in shuffled turns; the median counts.

    Raises:
      ValueError: the kernel has fewer than two taps, or a length is below 2.
    """
    if kernel_size < 2:
        raise ValueError(f"kernel_size={kernel_size}: sees one input alone; allowed: at least 2")
    if min(lengths) < 2:
        raise ValueError(f"lengths={min(lengths)}: a single input; allowed: at least 2")
    rows: dict[str, dict[int, dict[str, Any]]] = {}
    for length in sorted(lengths):
        calls = {}
        for name, (make, most, expected_steps) in processors(length, kernel_size).items():
            steps = steps_of(make(most), length)
            row = rows.setdefault(name, {})[length] = {"steps": steps, "claimed": expected_steps}
            for what, layers in ((" a layer", 1), ("", steps or most)):
                calls[name, what], row[f"MB{what}"] = gradient(make(layers), batch_size, length, width)
        for (name, what), times in interleaved(calls, num_repeats).items():
            rows[name][length][f"ms{what}"] = 1e3 * times.median
    return report(rows)


experiment = Study(__file__, __doc__, study, smoke={"lengths": (8, 16), "width": 8, "batch_size": 2, "num_repeats": 1})

if __name__ == "__main__":
    main(experiment)
