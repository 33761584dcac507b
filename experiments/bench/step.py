"""Time a training step on this device: images a second, the share of the peak, memory, seconds of compilation.

python -m experiments.bench.step                                                        (ResNet-50 and ViT-B/16)
python -m experiments.bench.step --models=resnet50 --batch_size=256 --precision=bf16    (an accelerator)

    images/s = batch / seconds of a step,     MFU = FLOPs of a step / seconds / peak

Cross-entropy, AdamW, parameters and optimizer state donated, images already on the device. FLOPs are two for each
multiply-add of the forward and the backward pass (`dlcore.cost.step_flops`); the peak is the vendor's bfloat16 figure,
or for a CPU cores x clock x FLOPs a cycle (`experiments.bench.matmul`). Where torch is installed, torchvision's model
takes the same steps in turns: channels last, bfloat16 by autocast with --precision=bf16, and torch.compile where
--compile is on.

Measured on an H100, batch 256 at 224 in bfloat16, AdamW: ResNet-50 4,509 images/s, 11% of the peak, compiled in 25 s,
1.18x eager torch; ViT-B/16 2,871 images/s, 31%, 1.42x eager torch. torch.compile was not timed there.

Measured on two cores of an AMD EPYC, beside other jobs, batch 4 at 224 in float32, AdamW: ResNet-50 4.5 images/s, 33%
of the peak, compiled in 5 s, 0.81x eager torch; ViT-B/16 1.1 images/s, 34%, 0.73x torch. In a profile of the latter a
fifth of the time goes into gradients of the residual stream: XLA:CPU adds up those of all later blocks again for every
norm, and removes the barriers that would stop it before it fuses.
"""

import functools
import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.classification import supervised
from dlcore.cost.memory import readable
from dlcore.cost.step_flops import step_flops
from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.models import create_model
from dlcore.models.registry import family_of
from dlcore.run import provenance
from experiments.bench.matmul import peak
from experiments.bench.timing import advancing, interleaved
from experiments.bench.zoo import size_field

DTYPES = {"f32": jnp.float32, "bf16": jnp.bfloat16}


def our_step(name: str, batch_size: int, image_size: int, precision: str) -> tuple[Callable, dict[str, float]]:
    """(a call that takes a step and waits, FLOPs of a step, bytes and seconds of compilation)."""
    model = create_model(name, dtype=DTYPES[precision], **size_field(name, image_size))
    learner = supervised.learner(model=model, optimizer=optax.adamw(1e-4))
    rng = np.random.default_rng(0)
    rows = {
        "image": jnp.asarray(rng.normal(size=(batch_size, image_size, image_size, 3)), jnp.float32),
        "label": jnp.arange(batch_size, dtype=jnp.int32) % 10,
        "index": jnp.arange(batch_size, dtype=jnp.int32),
    }
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    flops = step_flops(learner.update, state, rows).flops
    began = time.perf_counter()
    compiled = jax.jit(learner.update, donate_argnums=0).lower(state, rows).compile()
    facts = {"flops": float(flops), "compile seconds": time.perf_counter() - began}
    plan = compiled.memory_analysis()
    facts["planned bytes"] = float(
        plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes + plan.temp_size_in_bytes
    )
    return advancing(lambda state: compiled(state, rows), state), facts


def torch_step(name: str, batch_size: int, image_size: int, precision: str, compiled: bool) -> Callable | None:
    """The same of torchvision's model on the same device; None without torch, or without such a model."""
    if find_spec("torchvision") is None:
        return None
    import torch
    import torchvision

    if name not in torchvision.models.list_models():
        return None
    device = "cuda" if jax.devices()[0].platform == "gpu" and torch.cuda.is_available() else "cpu"
    model = torchvision.models.get_model(name, **size_field(name, image_size)).to(
        device, memory_format=torch.channels_last
    )
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    images = torch.randn(batch_size, 3, image_size, image_size, device=device).to(memory_format=torch.channels_last)
    labels = torch.arange(batch_size, device=device) % 10
    forward = torch.compile(model) if compiled else model

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            loss = torch.nn.functional.cross_entropy(forward(images), labels)
        loss.backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        return 0.0

    return step


def measure(
    *,
    models: tuple[str, ...] = ("resnet50", "vit_b_16"),
    batch_size: PositiveInt = 8,
    image_size: PositiveInt = 224,
    precision: Literal["f32", "bf16"] = "f32",
    compile: bool = False,
    num_repeats: PositiveInt = 5,
    seed: Seed = 0,
) -> StudyResult:
    """Time training steps.

    Args:
      precision: f32, or bf16 for activations with parameters in float32.
      compile: apply torch.compile to torchvision's model.
      seed: a label of the run in the ledger; nothing else depends on it.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch wants memory of the same GPU
    device, numbers = jax.devices()[0], {}
    best = peak(device, "float32" if precision == "f32" else "bfloat16")
    for name in models:
        family_of(name)  # an unknown name is an error before the first measurement
    for name in models:
        step, facts = our_step(name, batch_size, image_size, precision)
        calls = {"ours": step, "torch": torch_step(name, batch_size, image_size, precision, compile)}
        times = interleaved({k: f for k, f in calls.items() if f is not None}, num_repeats)
        seconds = {k: t.median for k, t in times.items()}
        values = {
            "images/s": batch_size / seconds["ours"],
            "seconds": seconds["ours"],
            **facts,
            "MFU": best and facts["flops"] / seconds["ours"] / best,
            "peak bytes": (device.memory_stats() or {}).get("peak_bytes_in_use"),
            "torch images/s": seconds.get("torch") and batch_size / seconds["torch"],
            "over torch": seconds.get("torch") and seconds["torch"] / seconds["ours"],
        }
        numbers |= {f"{name}: {key}": value for key, value in values.items() if value is not None}
    verdict = f"{provenance.hardware()}, batch {batch_size} at {image_size}, {precision}. " + " ".join(
        sentence(name, numbers) for name in models
    )
    headline = Headline(f"{models[0]} images/s", numbers[f"{models[0]}: images/s"], "synthetic", tolerance=0.5)
    return StudyResult(numbers, verdict, headline=headline)


def sentence(name: str, numbers: dict[str, float]) -> str:
    """A sentence on one model."""
    get = functools.partial(lambda key: numbers.get(f"{name}: {key}"))
    parts = [f"{get('images/s'):.1f} images/s"]
    if get("MFU"):
        parts.append(f"MFU {get('MFU'):.1%}")
    parts.append(f"{readable(get('peak bytes') or get('planned bytes'))}{'' if get('peak bytes') else ' planned'}")
    parts.append(f"compiled in {get('compile seconds'):.1f} s")
    if get("over torch"):
        parts.append(f"{get('over torch'):.2f}x torch's {get('torch images/s'):.1f}")
    return f"{name}: {', '.join(parts)}."


experiment = Study(
    __file__, __doc__, measure, smoke={"models": ("resnet18",), "batch_size": 2, "image_size": 32, "num_repeats": 2}
)

if __name__ == "__main__":
    main(experiment)
