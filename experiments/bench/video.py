"""Compare r3d_18 with torchvision's, and clip sampling with torch's DataLoader, as ratios measured in one run.

python -m experiments.bench.video                                           (the peers that are installed)
python -m experiments.bench.video --clips=2x8x56

The network is r3d_18 of 400 classes with random weights; both have the same ones, and their logits are compared. A
training step is cross-entropy and SGD at a batch's statistics. Clips are `COUNTxFRAMESxSIDE`. Sampling draws a clip of
eight frames, from a random start, of each of the 64 videos of a batch, from an array of drawn videos in memory: ours by
`Source.sample`, torch's by a DataLoader whose data set cuts the same array, without workers and with two.

The claims: at least 0.8x torchvision's speed in inference, 0.7x in training, and 10x the DataLoader.

References: Tran et al. 2018, arXiv:1711.11248 (r3d_18); torchvision's `models/video/resnet.py`.
"""

import dataclasses
import functools
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.data.clip_sampling import clips_in_memory
from dlcore.data.clips import clips
from dlcore.data.source import Source
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.models.video_resnet import VIDEO_MODELS, video_state_dict_names
from dlcore.run import provenance
from experiments.bench.timing import bar_chart, interleaved, ratio, torch_on_all_cores

LEAST = {"inference": 0.8, "training": 0.7, "sampling": 10.0}
"""Claimed speeds over the peers'."""
CLASSES, BATCH, LENGTH = 400, 64, 8


def parsed(clips: str) -> tuple[int, int, int]:
    """(count, frames, side) of a string such as "2x8x56".

    Raises:
      ValueError: it is no such string.
    """
    parts = clips.split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ValueError(f"clips={clips!r}: no size of a batch; allowed: COUNTxFRAMESxSIDE, such as 2x8x56")
    return tuple(int(part) for part in parts)


def our_calls(images: np.ndarray, labels: np.ndarray) -> tuple[dict[str, Callable[[], Any]], Any]:
    """({"inference", "training"}, variables) of r3d_18 for clips [B, T, H, W, 3]."""
    model = VIDEO_MODELS["r3d_18"](CLASSES)
    x, y = jnp.asarray(images), jnp.asarray(labels)
    variables = jax.jit(model.init)(jax.random.key(0), x[:1])

    @jax.jit
    def step(variables, x):
        def loss(params):
            logits, state = model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), state

        gradient, state = jax.grad(loss, has_aux=True)(variables["params"])
        return {**state, "params": jax.tree.map(lambda p, g: p - 1e-3 * g, variables["params"], gradient)}

    forward = jax.jit(model.apply)
    return {"inference": lambda: forward(variables, x), "training": lambda: step(variables, x)}, variables


def torch_calls(variables: Any, images: np.ndarray, labels: np.ndarray) -> dict[str, Callable[[], Any]]:
    """The same of torchvision's r3d_18 with our weights; none where it is not installed."""
    if find_spec("torchvision") is None or not torch_on_all_cores():
        return {}
    import torch
    from torchvision.models.video import r3d_18

    model = r3d_18(num_classes=CLASSES)
    leaves = {
        name: functools.reduce(lambda node, key: node[key], path, variables)
        for name, path in video_state_dict_names(variables).items()
    }
    arrays = {name: np.asarray(leaf) for name, leaf in leaves.items()}
    state = {k: v.transpose(4, 3, 0, 1, 2) if v.ndim == 5 else v.T for k, v in arrays.items()}
    counts = {k: v for k, v in model.state_dict().items() if k.endswith("num_batches_tracked")}
    model.load_state_dict({k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in state.items()} | counts)
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 4, 1, 2, 3)))
    y = torch.from_numpy(labels.astype(np.int64))
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)

    def inference():
        model.eval()
        with torch.no_grad():
            return model(x).numpy()

    def training():
        model.train()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return {"inference": inference, "training": training}


def sampling_calls(num_batches: int) -> dict[str, Callable[[], Any]]:
    """Draw `num_batches` batches of clips: ours, and torch's where it is installed."""
    clip_source = clips(256, 0, frames=16, size=32)
    videos, labels = np.asarray(clip_source.arrays["clip"]), np.asarray(clip_source.arrays["action"]).astype(np.int64)
    source = dataclasses.replace(
        clip_source, arrays={"image": clips_in_memory(videos, LENGTH), "label": labels}, length=None
    )
    order = np.random.default_rng(0).integers(0, len(videos), (num_batches, BATCH))

    def ours(source: Source = source):
        for epoch, idx in enumerate(order):
            batch = source.sample(idx, 0, np.full(BATCH, epoch))
        return batch["image"]

    calls = {"ours": ours}
    if find_spec("torch") is None:
        return calls
    import torch

    class Clips(torch.utils.data.Dataset):
        def __len__(self):
            return len(videos)

        def __getitem__(self, i):
            start = torch.randint(videos.shape[1] - LENGTH + 1, ()).item()
            return torch.from_numpy(videos[i, start : start + LENGTH]), labels[i]

    for workers in (0, 2):
        loader = torch.utils.data.DataLoader(Clips(), batch_sampler=order.tolist(), num_workers=workers)

        def torch_call(loader: Any = loader):
            for batch in loader:
                clip = batch[0]
            return clip.numpy()

        calls["torch DataLoader" + (f", {workers} workers" if workers else "")] = torch_call
    return calls


def measure(
    *,
    clips: tuple[str, ...] = ("2x8x56", "1x16x112"),
    num_batches: PositiveInt = 50,
    num_repeats: PositiveInt = 5,
) -> StudyResult:
    """Time ours and the peers' in shuffled turns.

    Args:
      clips: batches of clips, COUNTxFRAMESxSIDE.
      num_batches: batches of 64 clips that are sampled.
    """
    sizes = [parsed(size) for size in clips]
    numbers, speeds, summaries, holds = {}, {}, [], True
    for text, (count, frames, side) in zip(clips, sizes, strict=True):
        images = np.random.default_rng(0).normal(size=(count, frames, side, side, 3)).astype(np.float32)
        labels = np.arange(count)
        ours, variables = our_calls(images, labels)
        peers = torch_calls(variables, images, labels)
        if peers:
            difference = np.abs(peers["inference"]() - np.asarray(ours["inference"]())).max()
            numbers[f"{text}: largest difference of the logits"] = float(difference)
        calls = {f"{way}, {who}": f for who, ways in (("ours", ours), ("torch", peers)) for way, f in ways.items()}
        times = interleaved(calls, num_repeats)
        for way in ours:
            numbers[f"{text}, {way}: seconds"] = times[f"{way}, ours"].median
            if peers:
                speed = ratio(times, f"{way}, torch", f"{way}, ours")
                numbers |= speed.rows(f"{text}, {way}: torchvision over ours")
                speeds.setdefault(way, {})[text] = speed.median
                summaries.append(f"{speed.median:.2f}x torchvision in {way} of {text}")
                holds &= speed.median >= LEAST[way]
    calls = sampling_calls(num_batches)
    times = interleaved(calls, num_repeats)
    numbers["sampling: clips/s"] = clip_rate = num_batches * BATCH / times["ours"].median
    summaries.append(f"{clip_rate:,.0f} clips/s sampled")
    for name in calls.keys() - {"ours"}:
        speed = ratio(times, name, "ours")
        numbers |= speed.rows(f"sampling: {name} over ours")
        speeds.setdefault("sampling", {})[name] = speed.median
        summaries.append(f"{speed.median:.1f}x {name}")
        holds &= speed.median >= LEAST["sampling"]
    verdict = f"{provenance.hardware()}: {', '.join(summaries)}."
    if not speeds:
        holds, verdict = None, verdict[:-1] + "; torch is not installed, so nothing is compared."
    chart = bar_chart(speeds or {"sampling": {"ours": 1.0}}, "times as long as ours")
    headline = Headline("clips sampled a second", clip_rate, "clips", tolerance=0.5 * clip_rate)
    return StudyResult(numbers, verdict, {"speed": chart}, holds, headline)


experiment = Study(__file__, __doc__, measure, smoke={"clips": ("1x4x16",), "num_batches": 1, "num_repeats": 1})

if __name__ == "__main__":
    main(experiment)
