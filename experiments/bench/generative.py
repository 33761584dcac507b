"""Compare generative models with PyTorch's ways to write them, as ratios measured in one run.

python -m experiments.bench.generative
python -m experiments.bench.generative --num_images=8 --side=14 --num_repeats=3

- pixel_cnn: samples of a gated PixelCNN of 6 layers of 32 channels, 28 x 28 binary pixels. PyTorch runs the network
  again for each pixel, in a loop; ours run it again in one jitted scan ("scan"), on the 10 x 19 pixels that a pixel's
  logits depend on, or keep the rows and pixels that later ones need ("cached"). All three have the same weights, and
  the same logits to 1e-4. The claims are 5x for the scan and 20x for cached rows.

PyTorch takes as many threads as there are cores.

Measured on two quiet cores (Intel Xeon with AVX-512), a turn of each: cached rows 366x the PyTorch loop, the scan 6.8x.
The second command was not run since the scan leaves pixels out.
"""

import functools
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.experiment import Headline, PositiveInt, Range, Study, StudyResult
from dlcore.generative.autoregressive import sample
from dlcore.generative.pixel_cnn import PixelCNN
from dlcore.main import main
from dlcore.run import provenance
from experiments.bench.timing import bar_chart, interleaved, ratio, torch_on_all_cores


class Part(NamedTuple):
    """What one comparison found: speeds over PyTorch's by name, what each claims, and further numbers."""

    speeds: dict[str, float]
    least: dict[str, float]
    numbers: dict[str, Any]


def torch_pixel_cnn(model: PixelCNN, params: Any) -> Callable:
    """The same network for one color and two levels: images [B, 1, H, W] of 0 and 1 -> logits [B, H, W] of a 1."""
    import torch
    from torch.nn import functional as F

    def tensors(layer):
        layer = layer.get("conv", layer)
        return torch.tensor(np.asarray(layer["kernel"]).transpose(3, 2, 0, 1).copy()), torch.tensor(
            np.asarray(layer["bias"])
        )

    def gate(x):
        a, b = x.chunk(2, 1)
        return torch.tanh(a) * torch.sigmoid(b)

    layers = []
    for i in range(model.num_layers + 1):
        weights = {name: tensors(layer) for name, layer in params[f"layers_{i}"].items()}
        if i == 0:
            weights["horizontal"][0][..., -1] = 0
        layers.append((i == 0, (model.first_kernel if i == 0 else model.kernel_size) // 2, weights))
    head, last = tensors(params["head"]), tensors(params["logits"])

    @torch.no_grad()
    def logits(x):
        v = h = 2 * x - 1
        for first, half, weights in layers:
            rows = F.pad(v, (half, half, half, 0))
            v = F.conv2d(rows[:, :, :-1] if first else rows, *weights["vertical"])
            right = F.conv2d(F.pad(h, (half, 0)), *weights["horizontal"]) + F.conv2d(v, *weights["across"])
            v, right = gate(v), F.conv2d(gate(right), *weights["out"])
            h = right if first else h + right
        return F.conv2d(F.relu(F.conv2d(F.relu(h), *head)), *last)[:, 0]

    return logits


def pixel_cnn(num_images: int, side: int, num_layers: int, features: int, num_repeats: int, peer: bool) -> Part:
    """Time samples of a PixelCNN: cached rows, the scan, and a PyTorch loop."""
    shape, model = (side, side, 1), PixelCNN(2, 1, num_layers=num_layers, features=features)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, *shape), jnp.int32))["params"]
    rng = np.random.default_rng(0)
    params["logits"]["conv"]["kernel"] = 0.3 * rng.normal(size=(1, 1, model.head_features, 1)).astype(np.float32)
    keys = jax.random.split(jax.random.key(1), num_images)

    def drawing(cached: bool) -> Callable:
        draw = jax.jit(lambda params, keys: sample(model, params, keys, shape, cached=cached))
        return functools.partial(draw, params, keys)

    functions = {"cached": drawing(True), "scan": drawing(False)}
    numbers = {"pixel_cnn: cached and scan draw the same": bool((functions["cached"]() == functions["scan"]()).all())}
    if peer:
        import torch

        network = torch_pixel_cnn(model, params)
        x = np.asarray(functions["cached"]())
        torch_output = network(torch.tensor(x.transpose(0, 3, 1, 2), dtype=torch.float32)).numpy()
        ours = np.asarray(jax.jit(model.apply)({"params": params}, x))[..., 0, 1]
        numbers["pixel_cnn: largest difference of logits"] = float(np.abs(torch_output - ours).max())

        def loop() -> torch.Tensor:
            x = torch.zeros(num_images, 1, side, side)
            for y in range(side):
                for column in range(side):
                    x[:, 0, y, column] = torch.bernoulli(torch.sigmoid(network(x)[:, y, column]))
            return x

        functions["torch loop"] = loop
    times = interleaved(functions, num_repeats)
    numbers |= {f"pixel_cnn, {name}: images/s": num_images / t.median for name, t in times.items()}
    numbers |= ratio(times, "scan", "cached").rows("pixel_cnn, scan over cached")
    speeds = {}
    for name in ("cached", "scan") if peer else ():
        numbers |= ratio(times, "torch loop", name).rows(f"pixel_cnn, torch loop over {name}")
        speeds[f"pixel_cnn, {name}"] = ratio(times, "torch loop", name).median
    return Part(speeds, {"pixel_cnn, cached": 20.0, "pixel_cnn, scan": 5.0}, numbers)


def measure(
    *,
    what: Literal["all", "pixel_cnn"] = "all",
    num_images: PositiveInt = 64,
    side: Annotated[int, Range(4)] = 28,
    num_layers: Annotated[int, Range(0)] = 6,
    features: PositiveInt = 32,
    num_repeats: PositiveInt = 1,
) -> StudyResult:
    """Time ours and theirs in shuffled turns.

    Args:
      what: all, or one part.
      num_images: number of images that are sampled together.
      num_layers: number of layers of the PixelCNN, after the first.
      features: channels of the PixelCNN.
    """
    peer = torch_on_all_cores()
    parts = []
    if what in ("all", "pixel_cnn"):
        parts.append(pixel_cnn(num_images, side, num_layers, features, num_repeats, peer))
    speeds, least, numbers = ({k: v for part in parts for k, v in part[i].items()} for i in range(3))
    verdict = f"{provenance.hardware()}: speed over PyTorch's: " + "; ".join(
        f"{name} {value:.2f}x (claimed {least[name]:g}x)" for name, value in speeds.items()
    )
    first = next(iter(speeds.items()), None)
    headline = (
        Headline(f"{first[0]}, time of PyTorch's over ours", first[1], "synthetic", tolerance=0.5) if first else None
    )
    return StudyResult(
        numbers,
        (verdict if speeds else f"{provenance.hardware()}: PyTorch is not installed") + ".",
        {"speeds": bar_chart({name: {"ours": value} for name, value in speeds.items()}, "times as fast")}
        if speeds
        else {},
        all(value >= least[name] for name, value in speeds.items()),
        headline,
    )


experiment = Study(
    __file__, __doc__, measure, smoke={"num_images": 2, "side": 5, "num_layers": 1, "features": 4, "num_repeats": 1}
)

if __name__ == "__main__":
    main(experiment)
