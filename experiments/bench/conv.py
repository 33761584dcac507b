"""Time what dlcore's convolution, batch norm and max pooling win over flax's own, as ratios taken in one run.

python -m experiments.bench.conv
python -m experiments.bench.conv --skip_resnet --repeats=3

Two questions, each answered by interleaved repeats and medians:

- does a training step cost in a `lax.scan` what it costs alone (the gradient convolutions of lax take a naive path in
  the bodies of loops on a CPU), for a small residual network on 32x32 images: at most 1.2 is good;
- what does a training step of ResNet-50 cost with flax's layers, over one with dlcore's: at least 1.6 is good.

Seen on two busy cores (AMD EPYC, jax 0.10.2), where the work of all cores is the steadier measure: a scanned step does
0.98 of the work of one alone (0.97 to 1.31 by the clock), with flax's layers 28 times as much; ResNet-50 does 1.5 times
less work (1.4 to 1.95 by the clock, and 1.33 at batch 4). The aim of 1.6 was met in one run of three.

The figures are for a CPU. On other platforms dlcore's layers lower to lax's convolutions, and both ratios are near one.
"""

import argparse
import functools
import json
import math
import os
import pathlib
import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import dlcore.nn
import dlcore.ops


class Times(NamedTuple):
    """Seconds of each repeat: on the clock, and of all cores together, which other programs hardly change."""

    wall: list[float]
    cpu: list[float]


class Layers(NamedTuple):
    conv: Callable
    norm: Callable
    max_pool: Callable


OURS = Layers(dlcore.nn.Conv, dlcore.nn.BatchNorm, dlcore.ops.max_pool)
FLAX = Layers(nn.Conv, functools.partial(nn.BatchNorm, momentum=0.9), nn.max_pool)


class ResNet(nn.Module):
    """He et al. 2015 with its strides on the 3x3 convolutions, for timing: layers are given, names are not promised."""

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


def problem(layers: Layers, size: int, batch: int, steps: int, **fields: Any) -> tuple[Callable, Any, Any]:
    """(step, state, [steps, batch] examples) of a ResNet with `layers`; the numbers are the same for all layers."""
    rng = np.random.default_rng(0)
    examples = {
        "image": jnp.asarray(rng.normal(size=(steps, batch, size, size, 3)), jnp.float32),
        "label": jnp.asarray(rng.integers(0, fields["num_classes"], (steps, batch))),
    }
    model, tx = ResNet(layers, **fields), optax.sgd(0.01, momentum=0.9)
    variables = jax.jit(model.init)(jax.random.key(0), examples["image"][0])
    return training_step(model, tx), (variables, tx.init(variables["params"])), examples


def interleaved(
    functions: dict[str, Callable], repeats: int, steps: int = 1, least_seconds: float = 0.0
) -> dict[str, Times]:
    """Seconds a step of every function, each of which does `steps`, taken in turns so that a busy machine hits all.

    The turns are shuffled, and a function is called once more before it is timed: its neighbour's threads and what
    that left in the caches are not its own. least_seconds: short functions are called so often that a turn lasts that
    long.
    """
    counts = {}
    for name, function in functions.items():
        jax.block_until_ready(function())
        start = time.perf_counter()
        jax.block_until_ready(function())
        counts[name] = max(1, math.ceil(least_seconds / (time.perf_counter() - start)))
    times, order = {name: Times([], []) for name in functions}, random.Random(0)
    for _ in range(repeats):
        for name, function in order.sample(list(functions.items()), len(functions)):
            if least_seconds:
                jax.block_until_ready(function())
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(counts[name]):
                jax.block_until_ready(function())
            times[name].wall.append((time.perf_counter() - wall) / steps / counts[name])
            times[name].cpu.append((time.process_time() - cpu) / steps / counts[name])
    return times


def scan_times(batch: int, repeats: int, steps: int = 10) -> dict[str, Times]:
    """Seconds a step of a small residual network, scanned and one by one, with dlcore's layers and flax's."""
    functions = {}
    for name, layers in (("ours", OURS), ("flax", FLAX)):
        step, state, examples = problem(
            layers, 32, batch, steps, stages=(1, 1, 1), width=16, num_classes=10, bottleneck=False
        )
        batches = [jax.tree.map(lambda v, i=i: v[i], examples) for i in range(steps)]
        one = jax.jit(step).lower(state, batches[0]).compile()
        scanned = jax.jit(lambda s, b, step=step: jax.lax.scan(step, s, b)).lower(state, examples).compile()

        def loop(one=one, state=state, batches=batches):
            for b in batches:
                state, _ = one(state, b)
            return state

        functions[f"{name}, one by one"] = loop
        functions[f"{name}, scanned"] = functools.partial(scanned, state, examples)
    return interleaved(functions, repeats, steps)


def resnet50_times(size: int, batch: int, repeats: int) -> dict[str, Times]:
    """Seconds a step of ResNet-50 with dlcore's layers and with flax's."""
    functions = {}
    for name, layers in (("ours", OURS), ("flax", FLAX)):
        step, state, examples = problem(
            layers, size, batch, 1, stages=(3, 4, 6, 3), width=64, num_classes=1000, bottleneck=True
        )
        first = jax.tree.map(lambda v: v[0], examples)
        functions[name] = functools.partial(jax.jit(step).lower(state, first).compile(), state, first)
    return interleaved(functions, repeats)


def ratio(times: dict[str, Times], above: str, below: str) -> dict[str, float]:
    """The ratio of the median seconds, the smallest and largest within one repeat, and that of the cores' seconds."""
    pairs = [a / b for a, b in zip(times[above].wall, times[below].wall, strict=True)]
    median, cpu = (statistics.median(times[above][i]) / statistics.median(times[below][i]) for i in range(2))
    return {"median": median, "low": min(pairs), "high": max(pairs), "cpu": cpu}


def report(title: str, times: dict[str, Times]) -> None:
    print(f"\n{title}")
    for name, (wall, cpu) in times.items():
        low, middle, high = (1e3 * f(wall) for f in (min, statistics.median, max))
        cores = f"all cores together {1e3 * statistics.median(cpu):.1f}"
        print(f"  {name:18s} {middle:9.1f} ms a step   ({low:.1f} to {high:.1f} in {len(wall)} repeats; {cores})")


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16, help="images a step of ResNet-50 (twice as many when scanned)")
    parser.add_argument("--image_size", type=int, default=224, help="side of ResNet-50's images")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--skip_resnet", action="store_true", help="only the scan, which takes two minutes")
    parser.add_argument("--json", type=pathlib.Path, help="where to write all times and ratios")
    options = parser.parse_args(argv)

    print(f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, jax {jax.__version__}")
    times = {"scan": scan_times(2 * options.batch, options.repeats)}
    report(f"A small residual network, batch {2 * options.batch} at 32", times["scan"])
    ratios = {
        "scanned over one by one, ours": ratio(times["scan"], "ours, scanned", "ours, one by one"),
        "scanned over one by one, flax": ratio(times["scan"], "flax, scanned", "flax, one by one"),
    }
    verdicts = {"a scanned step costs what one alone does (at most 1.2)": "scanned over one by one, ours"}
    good = {"scanned over one by one, ours": lambda r: r <= 1.2, "ResNet-50, flax over ours": lambda r: r >= 1.6}
    if not options.skip_resnet:
        times["resnet50"] = resnet50_times(options.image_size, options.batch, options.repeats)
        report(f"ResNet-50, batch {options.batch} at {options.image_size}", times["resnet50"])
        ratios["ResNet-50, flax over ours"] = ratio(times["resnet50"], "flax", "ours")
        verdicts["ResNet-50 is faster by its layers (at least 1.6)"] = "ResNet-50, flax over ours"
    print("\nRatios")
    for name, r in ratios.items():
        spread = f"{r['low']:.2f} to {r['high']:.2f}; of the work of all cores {r['cpu']:.2f}"
        print(f"  {name:32s} {r['median']:6.2f}   ({spread})")
    print()
    for claim, name in verdicts.items():
        print(f"{'holds' if good[name](ratios[name]['median']) else 'DOES NOT HOLD'}: {claim}")
    results = {
        "ratios": ratios,
        "seconds": {name: {k: t._asdict() for k, t in group.items()} for name, group in times.items()},
        "options": {"batch": options.batch, "image_size": options.image_size, "repeats": options.repeats},
        "machine": {"device": jax.devices()[0].device_kind, "cores": os.cpu_count(), "system": platform.platform()},
        "versions": {"jax": jax.__version__, "python": platform.python_version()},
    }
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return results


if __name__ == "__main__":
    main()
