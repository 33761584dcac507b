"""Time one convolution in every form that dlcore has, as ratios to lax's form taken in one run.

python -m experiments.bench.convolutions
python -m experiments.bench.convolutions --repeats=9 --json=convolutions.json

The forms: lax, dlcore's drop-in for it, a product with im2col's rows, Fourier transforms, and Winograd's F(2x2, 3x3),
on images of several sizes and kernels; then depthwise convolutions, where dlcore adds up shifted images on a CPU.
Forward and backward (both gradients), each as the median of interleaved repeats. No form but ours is claimed to win.

Not run in full. Seen by a shorter script on two busy cores (AMD EPYC, jax 0.10.2; work of all cores; batch 8 of
32x32x64), lax over ours: depthwise 3x3 19 forward, 23 and 6 for the gradients of image and kernel; 7x7 16, 15 and 7.6.
"""

import argparse
import functools
import json
import os
import pathlib
import platform
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore.ops import conv_fft, conv_general_dilated, conv_im2col, conv_winograd
from dlcore.ops.winograd import winograd_multiplications
from experiments.bench.conv import Times, interleaved, ratio

NHWC = ("NHWC", "HWIO", "NHWC")

# batch, size, channels, features, kernel
LAYERS = {
    "early, 3x3": (8, 56, 64, 64, 3),
    "late, 3x3": (8, 14, 256, 256, 3),
    "5x5": (8, 28, 32, 64, 5),
    "11x11": (8, 28, 16, 16, 11),
    "31x31": (4, 56, 8, 8, 31),
}
DEPTHWISE = {"depthwise 3x3": (8, 32, 64, 3), "depthwise 7x7": (8, 32, 64, 7)}
SMALL = {"early, 3x3": (1, 8, 4, 4, 3)}


def lax_form(function: Callable, x: jax.Array, w: jax.Array, groups: int = 1) -> jax.Array:
    return function(x, w, (1, 1), "SAME", dimension_numbers=NHWC, feature_group_count=groups)


def forms(kernel: int) -> dict[str, Callable]:
    """Every form that does a kernel of that size."""
    found = {
        "lax": functools.partial(lax_form, lax.conv_general_dilated),
        "dlcore": functools.partial(lax_form, conv_general_dilated),
        "im2col": functools.partial(conv_im2col, padding="SAME"),
        "fft": functools.partial(conv_fft, padding="SAME"),
    }
    return found | ({"winograd": functools.partial(conv_winograd, padding="SAME")} if kernel == 3 else {})


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def timed(functions: dict[str, Callable], x: jax.Array, w: jax.Array, repeats: int) -> dict[str, dict[str, Times]]:
    """{"forward", "backward"} -> times of each form; the results are held against lax's first."""
    forward = {name: jax.jit(f).lower(x, w).compile() for name, f in functions.items()}
    want = forward["lax"](x, w)
    for name, f in forward.items():
        error = float(jnp.abs(f(x, w) - want).max() / jnp.abs(want).max())
        if error > 1e-4:
            raise ValueError(f"{name} differs from lax by {error:.1e} of the largest value")

    def backward(f):
        return jax.jit(jax.grad(lambda x, w: jnp.vdot(f(x, w), want), (0, 1))).lower(x, w).compile()

    both = {"forward": forward, "backward": {name: backward(f) for name, f in functions.items()}}
    return {
        way: interleaved({name: functools.partial(f, x, w) for name, f in group.items()}, repeats)
        for way, group in both.items()
    }


def table(title: str, times: dict[str, dict[str, Times]]) -> dict[str, dict[str, dict[str, float]]]:
    """Print a layer's rows; the ratios of lax's time to each form's."""
    print(f"\n{title}")
    found: dict[str, dict[str, dict[str, float]]] = {}
    for way, group in times.items():
        for name, seconds in group.items():
            found.setdefault(way, {})[name] = r = ratio(group, "lax", name)
            middle = 1e3 * statistics.median(seconds.wall)
            print(
                f"  {way:9s} {name:9s} {middle:9.2f} ms   lax over it {r['median']:6.2f}   (all cores {r['cpu']:.2f})"
            )
    return found


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="one tiny layer, in seconds, to see that everything works")
    parser.add_argument("--json", type=pathlib.Path, help="where to write all ratios")
    options = parser.parse_args(argv)

    print(f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, jax {jax.__version__}")
    ratios = {}
    for title, (batch, size, channels, features, kernel) in (SMALL if options.smoke else LAYERS).items():
        x, w = normal(0, batch, size, size, channels), normal(1, kernel, kernel, channels, features)
        ratios[title] = table(f"{title}: {x.shape} by {w.shape}", timed(forms(kernel), x, w, options.repeats))
    for title, (batch, size, channels, kernel) in ({} if options.smoke else DEPTHWISE).items():
        x, w = normal(0, batch, size, size, channels), normal(1, kernel, kernel, 1, channels)
        functions = {
            "lax": functools.partial(lax_form, lax.conv_general_dilated, groups=channels),
            "dlcore": functools.partial(lax_form, conv_general_dilated, groups=channels),
        }
        ratios[title] = table(f"{title}: {x.shape} by {w.shape}", timed(functions, x, w, options.repeats))
    saved = winograd_multiplications(56, 56)
    print(
        f"\nWinograd multiplies {saved['winograd']:,} times for a channel of 56x56 where lax has {saved['direct']:,}."
    )
    results = {
        "ratios": ratios,
        "options": {"repeats": options.repeats},
        "machine": {"device": jax.devices()[0].device_kind, "cores": os.cpu_count(), "system": platform.platform()},
        "versions": {"jax": jax.__version__, "python": platform.python_version()},
    }
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return results


if __name__ == "__main__":
    main()
