"""Time dlcore's layers and losses beside the plain flax, jax or optax form, and beside torch where it is installed.

python -m experiments.bench.blocks
python -m experiments.bench.blocks --only=norm --repeats=21 --json=blocks.json

Forward, and forward with backward (gradients of parameters and input), each the median of interleaved repeats; ratios
above one are in favour of dlcore. None of ours should be slower than 0.95 of the plain form; where ours is the plain
form itself (re-exported) there is nothing to time.

Seen on two cores, forward and with backward over flax's or jax's form: batch norm 1.07 and 2.19 (56x56x64), 1.08 and
1.76 (14x14x256); group norm 2.97 and 1.48; conv 3x3 1.00 and 1.00, 1x1 2.00 and 3.66; patches 1.49 and 1.21; depthwise
66 and 35; transposed .93 and 16; max pool 3.3 and 16; average pool 1.44 and 1.35; cross-entropy 1.01 and 1.02.
"""

import argparse
import functools
import importlib.util
import json
import os
import pathlib
import platform
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import dlcore.losses
import dlcore.nn
import dlcore.ops
from experiments.bench.conv import Times, interleaved, ratio


class Block(NamedTuple):
    """ours, plain: modules or functions of an input of `shape` (channels last). torch: name -> module, or None."""

    ours: Any
    plain: Any
    shape: tuple[int, ...]
    torch: Callable[[Any], Any] | None = None


def _norm(module, **fields):
    return module(use_running_average=False, **fields)


def _losses(function):
    labels = jnp.arange(256) % 1000
    return lambda x: function(x, labels)


BLOCKS = {
    "batch norm, 56x56x64": Block(
        _norm(dlcore.nn.BatchNorm), _norm(nn.BatchNorm), (16, 56, 56, 64), lambda t: t.nn.BatchNorm2d(64)
    ),
    "batch norm, 14x14x256": Block(
        _norm(dlcore.nn.BatchNorm), _norm(nn.BatchNorm), (16, 14, 14, 256), lambda t: t.nn.BatchNorm2d(256)
    ),
    "group norm, 32x32x64": Block(
        dlcore.nn.GroupNorm(8), nn.GroupNorm(8), (16, 32, 32, 64), lambda t: t.nn.GroupNorm(8, 64)
    ),
    "conv 3x3, 28x28x64": Block(
        dlcore.nn.Conv(64, (3, 3), padding=1), nn.Conv(64, (3, 3), padding=1), (8, 28, 28, 64),
        lambda t: t.nn.Conv2d(64, 64, 3, padding=1),
    ),
    "conv 1x1, 28x28x256": Block(
        dlcore.nn.Conv(64, (1, 1)), nn.Conv(64, (1, 1)), (8, 28, 28, 256), lambda t: t.nn.Conv2d(256, 64, 1)
    ),
    "patches 4x4, 64x64x3": Block(
        dlcore.nn.Conv(96, (4, 4), 4, padding="VALID"), nn.Conv(96, (4, 4), 4, padding="VALID"), (8, 64, 64, 3),
        lambda t: t.nn.Conv2d(3, 96, 4, 4),
    ),
    "depthwise 3x3, 28x28x128": Block(
        dlcore.nn.Conv(128, (3, 3), feature_group_count=128), nn.Conv(128, (3, 3), feature_group_count=128),
        (8, 28, 28, 128), lambda t: t.nn.Conv2d(128, 128, 3, padding=1, groups=128),
    ),
    "transposed conv 4x4, 16x16x64": Block(
        dlcore.nn.ConvTranspose(32, (4, 4), strides=(2, 2), padding="SAME"),
        nn.ConvTranspose(32, (4, 4), strides=(2, 2), padding="SAME"), (8, 16, 16, 64),
        lambda t: t.nn.ConvTranspose2d(64, 32, 4, 2, 1),
    ),
    "max pool 3x3, 56x56x64": Block(
        lambda x: dlcore.ops.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))),
        lambda x: nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))), (8, 56, 56, 64),
        lambda t: t.nn.MaxPool2d(3, 2, 1),
    ),
    "average pool 2x2, 56x56x64": Block(
        lambda x: dlcore.ops.avg_pool(x, (2, 2), (2, 2)), lambda x: nn.avg_pool(x, (2, 2), (2, 2)), (8, 56, 56, 64),
        lambda t: t.nn.AvgPool2d(2),
    ),
    "cross-entropy, 256x1000": Block(
        _losses(dlcore.losses.softmax_cross_entropy_loss), _losses(optax.softmax_cross_entropy_with_integer_labels),
        (256, 1000),
    ),
}  # fmt: skip


def jax_functions(block: Any, x: jax.Array) -> dict[str, Callable]:
    """What to time: forward, and forward with the gradients of parameters and input."""
    if isinstance(block, nn.Module):
        variables = jax.jit(block.init)(jax.random.key(0), x)

        def apply(variables, x):
            return block.apply(variables, x, mutable=["batch_stats"])[0]
    else:
        variables = {}

        def apply(variables, x):
            return block(x)

    def both(variables, x):
        y, pull = jax.vjp(apply, variables, x)
        return pull(y)

    forward, backward = (jax.jit(f).lower(variables, x).compile() for f in (apply, both))
    return {"forward": functools.partial(forward, variables, x), "backward": functools.partial(backward, variables, x)}


def torch_functions(make: Callable, x: np.ndarray) -> dict[str, Callable]:
    """The same of a torch module, on images with channels first."""
    import torch

    module = make(torch)
    x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1))).requires_grad_(True)

    def forward():
        with torch.no_grad():
            return module(x).numpy()

    def backward():
        module.zero_grad()
        x.grad = None
        y = module(x)
        y.backward(y.detach())
        return x.grad.numpy()

    return {"forward": forward, "backward": backward}


def times_of(block: Block, repeats: int) -> dict[str, Times]:
    """{"ours, forward": seconds, ...} of every form."""
    x = np.random.default_rng(0).normal(size=block.shape).astype(np.float32)
    forms = {"ours": jax_functions(block.ours, jnp.asarray(x)), "plain": jax_functions(block.plain, jnp.asarray(x))}
    if block.torch is not None and importlib.util.find_spec("torch") is not None:
        forms["torch"] = torch_functions(block.torch, x)
    calls = {f"{form}, {way}": call for form, ways in forms.items() for way, call in ways.items()}
    return interleaved(calls, repeats, least_seconds=0.01)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="blocks whose name has this in it")
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--json", type=pathlib.Path, help="where to write the ratios")
    options = parser.parse_args(argv)
    print(f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, jax {jax.__version__}")
    print(f"{'':32}{'over ours: plain':>26}{'torch':>22}")
    print(f"{'':32}{'forward':>13}{'backward':>13}{'forward':>11}{'backward':>11}")
    found = {}
    for name in [n for n in BLOCKS if options.only in n]:
        times = times_of(BLOCKS[name], options.repeats)
        found[name] = {
            f"{form}, {way}": ratio(times, f"{form}, {way}", f"ours, {way}")
            for form in ("plain", "torch")
            for way in ("forward", "backward")
            if f"{form}, {way}" in times
        }
        medians = [
            found[name].get(f"{f}, {w}", {}).get("median") for f in ("plain", "torch") for w in ("forward", "backward")
        ]
        told = ["–" if m is None else f"{m:.2f}" for m in medians]
        print(f"{name:32}{told[0]:>13}{told[1]:>13}{told[2]:>11}{told[3]:>11}")
    slow = [
        f"{name} ({key})" for name, r in found.items() for key, v in r.items() if "plain" in key and v["median"] < 0.95
    ]
    print(f"slower than 0.95 of the plain form: {', '.join(slow) or 'none'}")
    if options.json is not None:
        about = {"machine": platform.processor(), "cores": os.cpu_count(), "jax": jax.__version__}
        options.json.write_text(json.dumps(about | {"ratios": found}, indent=1) + "\n")
    return found


if __name__ == "__main__":
    main()
