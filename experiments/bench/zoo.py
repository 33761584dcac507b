"""Time the models of the zoo: compilation, inference and training, against flax's own layers and against torch.

python -m experiments.bench.zoo
python -m experiments.bench.zoo --models=resnet50,vit_b_16 --batch_size=16 --image_size=224

For each model: parameters, seconds to compile a training step (SGD, cross-entropy), images a second in inference and in
training, and the speed over the same file with flax's own Conv, BatchNorm and pooling, and over torchvision's or timm's
model where torch is installed. Turns are interleaved, so that a busy machine slows all.

Measured on two cores, batch 4 at 224, inference and training: ResNet-50 1.03x and 1.66x flax's layers, 0.91x and 0.71x
torch (33.9 and 7.8 images/s); MobileNetV2 13.3x and 7.2x flax, 1.45x and 0.76x torch; ViT-B/16 1.02x and 0.96x flax,
1.86x and 1.11x torch. Compilation of a training step took 4 to 6 seconds.
"""

import contextlib
import functools
import importlib.util
import math
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.models import create_model, input_shape
from dlcore.models.registry import family_of
from dlcore.ops import max_pool as dlcore_max_pool
from dlcore.run import provenance
from experiments.bench.timing import bar_chart, interleaved, ratio

MODELS = (
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "vgg16",
    "densenet121",
    "mobilenet_v2",
    "efficientnet_b0",
    "regnet_y_400mf",
    "convnext_tiny",
    "vit_b_16",
    "swin_t",
)


def _flax_max_pool(x, window_shape, strides=None, padding="VALID", ceil_mode=False):
    if ceil_mode:
        return dlcore_max_pool(x, window_shape, strides, padding, ceil_mode)
    padding = [(padding, padding)] * 2 if isinstance(padding, int) else padding
    return nn.max_pool(x, window_shape, strides, padding)


def _flax_batch_norm(use_running_average=None, momentum=0.9, epsilon=1e-5, axis_name=None, dtype=None, **fields):
    """flax's, with the argument order of ours, on one device: flax's refuses an axis that no pmap binds."""
    del axis_name
    return nn.BatchNorm(use_running_average, momentum=momentum, epsilon=epsilon, dtype=dtype, **fields)


@contextlib.contextmanager
def flax_layers(name: str) -> Iterator[None]:
    """Within, the file of the model `name` builds its networks from flax's own layers."""
    plain = {"Conv": nn.Conv, "BatchNorm": _flax_batch_norm, "max_pool": _flax_max_pool}
    module = family_of(name)
    present = {key: value for key, value in plain.items() if hasattr(module, key)}
    with mock.patch.multiple(module, **present) if present else contextlib.nullcontext():
        yield


def jax_functions(name: str, batch_size: int, size: int) -> tuple[dict[str, Callable], float, int]:
    """({"forward", "train"}, the seconds that the training step took to compile, and the number of parameters)."""
    model = create_model(name, **size_field(name, size))
    images = jnp.asarray(np.random.default_rng(0).normal(size=(batch_size, size, size, 3)), jnp.float32)
    labels = jnp.arange(batch_size) % 10
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
    forward = jax.jit(model.apply).lower(variables, images).compile()
    calls = {
        "forward": functools.partial(forward, variables, images),
        "train": functools.partial(step, variables, images),
    }
    return calls, seconds, parameters


def size_field(name: str, size: int) -> dict[str, int]:
    """`image_size` for the models that have such a field."""
    return {"image_size": size} if "image_size" in getattr(create_model(name), "__dataclass_fields__", {}) else {}


def torch_functions(name: str, batch_size: int, size: int) -> dict[str, Callable] | None:
    """The same of torchvision's model, or timm's; None where neither is installed or has it."""
    if importlib.util.find_spec("torchvision") is None:
        return None
    import torch
    import torchvision

    if name in torchvision.models.list_models():
        model = torchvision.models.get_model(name, **size_field(name, size))
    elif importlib.util.find_spec("timm") is not None:
        import timm

        model = timm.create_model(name)
    else:
        return None
    images = torch.as_tensor(np.random.default_rng(0).normal(size=(batch_size, 3, size, size)).astype(np.float32))
    labels, optimizer = torch.arange(batch_size) % 10, torch.optim.SGD(model.parameters(), 1e-3)

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


def measure_model(name: str, batch_size: int, image_size: int | None, num_repeats: int) -> dict[str, Any]:
    """The numbers of one model."""
    size = image_size or input_shape(name)[0]
    ours, seconds, parameters = jax_functions(name, batch_size, size)
    with flax_layers(name):
        plain, plain_seconds, _ = jax_functions(name, batch_size, size)
    implementations = {"ours": ours, "flax": plain, "torch": torch_functions(name, batch_size, size)}
    calls = {f"{key}, {way}": call for key, ways in implementations.items() if ways for way, call in ways.items()}
    times = interleaved(calls, num_repeats, least_seconds=1e-3)
    numbers = {
        "parameters": parameters,
        "image size": size,
        "compile seconds": seconds,
        "compile seconds, flax": plain_seconds,
    }
    for way in ("forward", "train"):
        numbers[f"{way}: images/s"] = batch_size / times[f"ours, {way}"].median
        for key in ("flax", "torch"):
            if f"{key}, {way}" in times:
                numbers[f"{way}: {key} over ours"] = ratio(times, f"{key}, {way}", f"ours, {way}").median
    return numbers


def measure(
    *,
    models: tuple[str, ...] = MODELS,
    batch_size: PositiveInt = 8,
    image_size: int | None = None,
    num_repeats: PositiveInt = 5,
) -> StudyResult:
    """Time inference and training of each model.

    Args:
      image_size: side of the images; None takes that of the published model.
    """
    numbers, ratios, sentences = {}, {}, []
    for name in models:
        family_of(name)  # an unknown name is an error before the first measurement
    for name in models:
        values = measure_model(name, batch_size, image_size, num_repeats)
        numbers |= {f"{name}: {key}": value for key, value in values.items()}
        ratios[name] = {key: value for key, value in values.items() if "over ours" in key}
        speeds = ", ".join(f"{value:.2f}x {key.partition(': ')[2].split()[0]}" for key, value in ratios[name].items())
        sentences.append(f"{name} {values['forward: images/s']:.1f} and {values['train: images/s']:.1f} ({speeds})")
    verdict = (
        f"{provenance.hardware()}, batch {batch_size}, images/s in inference and training: {'; '.join(sentences)}."
    )
    chart = bar_chart(ratios, "time over dlcore's")
    headline = Headline(
        f"train images/s, {models[0]}", numbers[f"{models[0]}: train: images/s"], "synthetic", tolerance=0.5
    )
    return StudyResult(numbers, verdict, {"ratios": chart}, headline=headline)


experiment = Study(
    __file__, __doc__, measure, smoke={"models": ("resnet18",), "batch_size": 2, "image_size": 32, "num_repeats": 1}
)

if __name__ == "__main__":
    main(experiment)
