"""Time training steps of residual networks with dlcore's layers and with flax's, as ratios measured in one run.

python -m experiments.bench.resnet_layers
python -m experiments.bench.resnet_layers --noresnet50 --num_repeats=3

Two questions, each answered by medians of interleaved turns:

- does a training step cost in a `lax.scan` what it costs alone (on a CPU the gradient convolutions of lax take a naive
  path in the bodies of loops), for a small residual network on 32x32 images: the claim is at most 1.2x;
- what does a training step of ResNet-50 cost with flax's layers, over one with dlcore's: the claim is at least 1.6x.

Measured on two busy cores (AMD EPYC, jax 0.10.2), where processor time is the steadier measure: a scanned step takes
0.98x the processor time of one alone (0.97x to 1.31x by the clock), with flax's layers 28x; ResNet-50 takes 1.5x less
processor time (1.4x to 1.95x by the clock, and 1.33x at batch 4). The claim of 1.6x held in one run of three.

On other platforms than a CPU dlcore's layers lower to lax's convolutions, and both ratios are near one.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import dlcore.nn
import dlcore.ops
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.run import provenance
from experiments.bench.timing import Ratio, Times, bar_chart, interleaved, ratio

SCAN_STEPS = 10
MOST_SCANNED, LEAST_RESNET50 = 1.2, 1.6


class Layers(NamedTuple):
    """The layers that a network is built from."""

    conv: Callable
    norm: Callable
    max_pool: Callable


OURS = Layers(dlcore.nn.Conv, dlcore.nn.BatchNorm, dlcore.ops.max_pool)
FLAX = Layers(nn.Conv, functools.partial(nn.BatchNorm, momentum=0.9), nn.max_pool)


class ResNet(nn.Module):
    """He et al. 2015, arXiv:1512.03385, with its strides on the 3x3 convolutions, for timing with any layers."""

    layers: Layers
    stages: tuple[int, ...]
    width: int
    num_classes: int
    bottleneck: bool

    @nn.compact
    def __call__(self, x):
        conv = functools.partial(self.layers.conv, use_bias=False)
        norm = functools.partial(self.layers.norm, use_running_average=False)
        if self.bottleneck:
            x = nn.relu(norm()(conv(self.width, (7, 7), strides=2, padding=3)(x)))
            x = self.layers.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        else:
            x = nn.relu(norm()(conv(self.width, (3, 3), padding=1)(x)))
        for i, blocks in enumerate(self.stages):
            for j in range(blocks):
                features, stride = self.width * 2**i, 2 if i > 0 and j == 0 else 1
                y = nn.relu(norm()(conv(features, (1, 1))(x))) if self.bottleneck else x
                y = nn.relu(norm()(conv(features, (3, 3), strides=stride, padding=1)(y)))
                out = 4 * features if self.bottleneck else features
                y = norm()(conv(out, (1, 1) if self.bottleneck else (3, 3))(y))
                if x.shape != y.shape:
                    x = norm()(conv(out, (1, 1), strides=stride, padding=0)(x))
                x = nn.relu(x + y)
        return nn.Dense(self.num_classes)(x.mean((1, 2)))


def training_step(model: nn.Module, tx: optax.GradientTransformation) -> Callable:
    def step(state, batch):
        def loss(params):
            logits, updates = model.apply({**state[0], "params": params}, batch["image"], mutable=["batch_stats"])
            return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean(), updates

        (value, updates), gradient = jax.value_and_grad(loss, has_aux=True)(state[0]["params"])
        change, opt_state = tx.update(gradient, state[1])
        return ({"params": optax.apply_updates(state[0]["params"], change), **updates}, opt_state), value

    return step


def problem(layers: Layers, image_size: int, batch_size: int, steps: int, **fields: Any) -> tuple[Callable, Any, Any]:
    """(step, state, [steps, batch_size] examples) of a ResNet; the same numbers for all `layers`."""
    rng = np.random.default_rng(0)
    examples = {
        "image": jnp.asarray(rng.normal(size=(steps, batch_size, image_size, image_size, 3)), jnp.float32),
        "label": jnp.asarray(rng.integers(0, fields["num_classes"], (steps, batch_size))),
    }
    model, tx = ResNet(layers, **fields), optax.sgd(0.01, momentum=0.9)
    variables = jax.jit(model.init)(jax.random.key(0), examples["image"][0])
    return training_step(model, tx), (variables, tx.init(variables["params"])), examples


def scan_times(batch_size: int, num_repeats: int) -> dict[str, Times]:
    """Seconds a step of a small residual network, scanned and one by one, with dlcore's layers and flax's."""
    functions = {}
    for name, layers in (("ours", OURS), ("flax", FLAX)):
        step, state, examples = problem(
            layers, 32, batch_size, SCAN_STEPS, stages=(1, 1, 1), width=16, num_classes=10, bottleneck=False
        )
        batches = [jax.tree.map(lambda v, i=i: v[i], examples) for i in range(SCAN_STEPS)]
        one = jax.jit(step).lower(state, batches[0]).compile()
        scanned = jax.jit(lambda s, b, step=step: jax.lax.scan(step, s, b)).lower(state, examples).compile()

        def loop(one=one, state=state, batches=batches):
            for b in batches:
                state, _ = one(state, b)
            return state

        functions[f"{name}, one by one"] = loop
        functions[f"{name}, scanned"] = functools.partial(scanned, state, examples)
    return interleaved(functions, num_repeats, steps=SCAN_STEPS)


def resnet50_times(image_size: int, batch_size: int, num_repeats: int) -> dict[str, Times]:
    """Seconds a step of ResNet-50 with dlcore's layers and with flax's."""
    functions = {}
    for name, layers in (("ours", OURS), ("flax", FLAX)):
        step, state, examples = problem(
            layers, image_size, batch_size, 1, stages=(3, 4, 6, 3), width=64, num_classes=1000, bottleneck=True
        )
        first = jax.tree.map(lambda v: v[0], examples)
        functions[name] = functools.partial(jax.jit(step).lower(state, first).compile(), state, first)
    return interleaved(functions, num_repeats)


def measure(
    *, resnet50: bool = True, batch_size: PositiveInt = 16, image_size: PositiveInt = 224, num_repeats: PositiveInt = 5
) -> StudyResult:
    """Time training steps with dlcore's layers and with flax's.

    Args:
      resnet50: time ResNet-50 too, beside the scanned small network.
      batch_size: images a step of ResNet-50; the small network gets twice as many.
      image_size: side of ResNet-50's images.
    """
    times = scan_times(2 * batch_size, num_repeats)
    ratios: dict[str, Ratio] = {
        "scanned over one by one, ours": ratio(times, "ours, scanned", "ours, one by one"),
        "scanned over one by one, flax": ratio(times, "flax, scanned", "flax, one by one"),
    }
    holds = {f"scanned at most {MOST_SCANNED}x": ratios["scanned over one by one, ours"].median <= MOST_SCANNED}
    if resnet50:
        resnet50_seconds = resnet50_times(image_size, batch_size, num_repeats)
        times |= {f"ResNet-50, {name}": value for name, value in resnet50_seconds.items()}
        ratios["ResNet-50, flax over ours"] = ratio(resnet50_seconds, "flax", "ours")
        holds[f"ResNet-50 at least {LEAST_RESNET50}x"] = ratios["ResNet-50, flax over ours"].median >= LEAST_RESNET50
    numbers: dict[str, Any] = {}
    for name, value in ratios.items():
        numbers |= value.rows(name)
    numbers |= {f"{name}: ms a step": 1e3 * value.median for name, value in times.items()}
    verdict = f"{provenance.hardware()}: " + "; ".join(
        f"{claim}: {'held' if held else 'did not hold'}" for claim, held in holds.items()
    )
    bars = {name: {"time ratio": value.median} for name, value in ratios.items()}
    figure = bar_chart(bars, "ratio of times", log=True)
    headline = Headline(f"time, {name}", ratios[name].median, "synthetic", tolerance=0.5)
    return StudyResult(numbers, verdict + ".", {"ratios": figure}, all(holds.values()), headline)


experiment = Study(__file__, __doc__, measure, smoke={"resnet50": False, "batch_size": 1, "num_repeats": 1})

if __name__ == "__main__":
    main(experiment)
