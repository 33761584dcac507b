"""Time the models of the zoo: compilation, use and training, beside plain flax layers and beside torch on this machine.

python -m experiments.bench.zoo
python -m experiments.bench.zoo --models=resnet50,vit_b_16 --batch=16 --size=224 --json=zoo.json

A line a model: parameters, seconds to compile a training step (SGD, cross-entropy), images a second forward (as in use)
and in training, and how many times as fast that is as the same file with flax's own Conv, BatchNorm and pooling, and as
torchvision's or timm's model where torch is installed. Turns are interleaved, so that a busy machine hits all.

Seen on two cores, batch 4 at 224, forward and training: ResNet-50 1.03 and 1.66 times flax's layers, .91 and .71 of
torch (33.9 and 7.8 images/s); MobileNetV2 13.3 and 7.2 times flax, 1.45 and .76 of torch; ViT-B/16 1.02 and .96 times
flax, 1.86 and 1.11 times torch. Compilation of a training step took 4 to 6 seconds.
"""

import argparse
import contextlib
import functools
import importlib.util
import json
import math
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.models import create_model, input_shape
from dlcore.models.registry import family_of
from dlcore.ops import max_pool as dlcore_max_pool
from experiments.bench.conv import interleaved, ratio

MODELS = (
    "resnet18,resnet50,resnext50_32x4d,vgg16,densenet121,mobilenet_v2,efficientnet_b0,regnet_y_400mf,"
    "convnext_tiny,vit_b_16,swin_t"
)


def _flax_max_pool(x, window_shape, strides=None, padding="VALID", ceil_mode=False):
    if ceil_mode:
        return dlcore_max_pool(x, window_shape, strides, padding, ceil_mode)
    padding = [(padding, padding)] * 2 if isinstance(padding, int) else padding
    return nn.max_pool(x, window_shape, strides, padding)


def _flax_batch_norm(use_running_average=None, momentum=0.9, epsilon=1e-5, axis_name=None, dtype=None, **fields):
    """flax's, with the order of arguments of ours."""
    return nn.BatchNorm(
        use_running_average, momentum=momentum, epsilon=epsilon, axis_name=axis_name, dtype=dtype, **fields
    )


@contextlib.contextmanager
def flax_layers(name: str) -> Iterator[None]:
    """Within, the file of the model `name` builds its networks of flax's own layers."""
    plain = {"Conv": nn.Conv, "BatchNorm": _flax_batch_norm, "max_pool": _flax_max_pool}
    module = family_of(name)
    found = {key: value for key, value in plain.items() if hasattr(module, key)}
    with mock.patch.multiple(module, **found) if found else contextlib.nullcontext():
        yield


def jax_functions(name: str, batch: int, size: int) -> tuple[dict[str, Callable], float, int]:
    """{"forward", "train"}, the seconds that the training step took to compile, and the number of parameters."""
    model = create_model(name, **_fields(name, size))
    images = jnp.asarray(np.random.default_rng(0).normal(size=(batch, size, size, 3)), jnp.float32)
    labels = jnp.arange(batch) % 10
    variables = jax.jit(lambda x: model.init(jax.random.key(0), x))(images[:1])
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))

    def train(variables, images):
        def loss(params):
            logits, state = model.apply(
                {**variables, "params": params},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(1)},
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), state

        gradient, state = jax.grad(loss, has_aux=True)(variables["params"])
        return {**state, "params": jax.tree.map(lambda p, g: p - 1e-3 * g, variables["params"], gradient)}

    start = time.perf_counter()
    step = jax.jit(train).lower(variables, images).compile()
    seconds = time.perf_counter() - start
    use = jax.jit(model.apply).lower(variables, images).compile()
    calls = {"forward": functools.partial(use, variables, images), "train": functools.partial(step, variables, images)}
    return calls, seconds, parameters


def _fields(name: str, size: int) -> dict[str, int]:
    return {"image_size": size} if "image_size" in getattr(create_model(name), "__dataclass_fields__", {}) else {}


def torch_functions(name: str, batch: int, size: int) -> dict[str, Callable] | None:
    """The same of torchvision's model, or timm's; None where neither is installed or has it."""
    if importlib.util.find_spec("torchvision") is None:
        return None
    import torch
    import torchvision

    if name in torchvision.models.list_models():
        model = torchvision.models.get_model(name, **_fields(name, size))
    elif importlib.util.find_spec("timm") is not None:
        import timm

        model = timm.create_model(name)
    else:
        return None
    images = torch.as_tensor(np.random.default_rng(0).normal(size=(batch, 3, size, size)).astype(np.float32))
    labels, optimizer = torch.arange(batch) % 10, torch.optim.SGD(model.parameters(), 1e-3)

    def forward():
        model.eval()
        with torch.no_grad():
            return model(images).numpy()

    def train():
        model.train()
        optimizer.zero_grad()
        out = model(images)
        torch.nn.functional.cross_entropy(getattr(out, "logits", out), labels).backward()
        optimizer.step()
        return 0.0

    return {"forward": forward, "train": train}


def measure(name: str, batch: int, size: int, repeats: int) -> dict[str, Any]:
    """Everything of a model's line."""
    size = size or input_shape(name)[0]
    ours, seconds, parameters = jax_functions(name, batch, size)
    with flax_layers(name):
        plain, plain_seconds, _ = jax_functions(name, batch, size)
    forms = {"ours": ours, "flax": plain, "torch": torch_functions(name, batch, size)}
    calls = {f"{form}, {way}": call for form, ways in forms.items() if ways for way, call in ways.items()}
    times = interleaved(calls, repeats, least_seconds=1e-3)
    found = {"parameters": parameters, "compile": seconds, "compile, flax": plain_seconds, "size": size}
    for way in ("forward", "train"):
        found[f"{way}, images/s"] = batch / float(np.median(times[f"ours, {way}"].wall))
        for form in ("flax", "torch"):
            if f"{form}, {way}" in times:
                found[f"{form} over ours, {way}"] = ratio(times, f"{form}, {way}", f"ours, {way}")["median"]
    return found


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=MODELS, help="names with commas between")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=0, help="side of the images; 0: that of the published model")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path, help="where to write the numbers")
    options = parser.parse_args(argv)
    print(f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, jax {jax.__version__}, batch {options.batch}")
    print(f"{'':20}{'parameters':>14}{'size':>6}{'compile':>9}{'images/s':>17}{'over flax':>15}{'over torch':>15}")
    print(f"{'':20}{'':>14}{'':>6}{'s':>9}{'use':>9}{'train':>8}{'use':>8}{'train':>7}{'use':>8}{'train':>7}")
    found = {}
    for name in options.models.split(","):
        line = found[name] = measure(name, options.batch, options.size, options.repeats)
        told = [
            "–" if line.get(f"{form} over ours, {way}") is None else f"{line[f'{form} over ours, {way}']:.2f}"
            for form in ("flax", "torch")
            for way in ("forward", "train")
        ]
        print(
            f"{name:20}{line['parameters']:>14,}{line['size']:>6}{line['compile']:>9.1f}"
            f"{line['forward, images/s']:>9.1f}{line['train, images/s']:>8.1f}"
            f"{told[0]:>8}{told[1]:>7}{told[2]:>8}{told[3]:>7}",
            flush=True,
        )
    if options.json is not None:
        options.json.write_text(json.dumps({"cores": os.cpu_count(), "batch": options.batch, "models": found}) + "\n")
    return found


if __name__ == "__main__":
    main()
