"""Compare FixMatch's step, RandAugment included, with PyTorch's, and VAT's with a supervised step.

python -m experiments.bench.semi_supervised
python -m experiments.bench.semi_supervised --width=16 --batch_size=8 --num_steps=1 --num_repeats=9

On two quiet cores (Intel Xeon with AVX-512, convolutions by oneDNN) the first command found FixMatch at 1.33x eager
PyTorch, augmentation 3 % of its step, and VAT at 1.36 supervised steps more; the second 1.09x, 8 % and 1.55.

FixMatch: a residual network for CIFAR, B labeled images and 7 B unlabeled ones a step. Ours draws weak and strong views
inside the compiled step; PyTorch's come from its loader (`--workers` processes; 0 draws them in the same process), one
image after the other by Pillow, as the customary program's do: crop and mirror, and for the strong view two operations
of RandAugment and a square cut out. Networks, batches, optimizer (SGD with Nesterov's momentum) and the average of
weights and statistics are equal. `augmentation's share` is the time of ours that the views alone take.

VAT: B labeled and B unlabeled images, one power iteration, beside a supervised step of B images; what it adds is a
forward pass, one with the gradient by the images alone, and a full step: 2 supervised steps by the number of
operations.

The claims: at least as fast as PyTorch, and VAT adds at most 2.2 supervised steps.
"""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.data.augment import compose, cutout
from dlcore.data.augment.recipes import classification_augmentation
from dlcore.experiment import Headline, PositiveInt, Range, Study, StudyResult
from dlcore.learner import Learner, example_keys
from dlcore.main import main
from dlcore.models import create_model
from dlcore.run import provenance
from dlcore.semi_supervised import fixmatch, vat
from dlcore.semi_supervised.two_streams import supervised_only, two_stream_learner
from experiments.bench.self_supervised import torch_network
from experiments.bench.timing import bar_chart, interleaved, ratio, torch_on_all_cores

MOST_ADDED = 2.2
CLASSES, RATIO = 10, 7
RATE, MOMENTUM, DECAY = 0.03, 0.9, 0.999


def views(side: int) -> tuple[Callable, Callable]:
    """(weak, strong), `(key, image) -> image`."""
    unit = ((0.0,) * 3, (1.0,) * 3)
    strong = classification_augmentation("crop_flip", side, *unit, strong="rand_augment")
    return classification_augmentation("crop_flip", side, *unit), compose(strong, cutout(side // 2))


def our_learner(name: str, side: int, width: int) -> Learner:
    model = create_model(
        "resnet8_cifar", num_classes=CLASSES, width=width, head_init=jax.nn.initializers.lecun_normal()
    )
    optimizer = optax.sgd(RATE, MOMENTUM, nesterov=True)
    weak, strong = views(side)
    if name == "fixmatch":
        return fixmatch.learner(model=model, optimizer=optimizer, augment=weak, strong=strong, ema_decay=DECAY)
    if name == "vat":
        return vat.learner(model=model, optimizer=optimizer)
    return two_stream_learner(model, optimizer, supervised_only)


def batch_of(images: jax.Array, first: jax.Array | int, labeled: int, unlabeled: int) -> dict:
    """Two streams of neighboring images, from one on."""

    def part(count):
        start = first * count % (len(images) - count + 1)
        index = start + jnp.arange(count, dtype=jnp.int32)
        return {"image": jax.lax.dynamic_slice_in_dim(images, start, count), "label": index % CLASSES, "index": index}

    return {"labeled": part(labeled), "unlabeled": {k: v for k, v in part(unlabeled).items() if k != "label"}}


def our_steps(learner: Learner, images: np.ndarray, labeled: int, unlabeled: int, num_steps: int) -> Callable[[], Any]:
    """A call that takes the steps."""
    data = jnp.asarray(images)

    def step(state):
        state, metrics = learner.update(state, batch_of(data, state.step, labeled, unlabeled))
        return state, metrics["loss"].total / labeled

    state, compiled = jax.jit(learner.init)(jax.random.key(0), batch_of(data, 0, labeled, unlabeled)), jax.jit(step)

    def run() -> list[jax.Array]:
        nonlocal state
        losses = []
        for _ in range(num_steps):
            state, loss = compiled(state)
            losses.append(loss)
        return losses

    return run


def our_views(images: np.ndarray, labeled: int, unlabeled: int, num_steps: int) -> Callable[[], Any]:
    """A call that draws the views of as many steps, and no more."""
    data, (weak, strong) = jnp.asarray(images), views(images.shape[1])

    def step(total, k):
        parts = batch_of(data, k, labeled, unlabeled)
        for n, (view, name) in enumerate(((weak, "labeled"), (weak, "unlabeled"), (strong, "unlabeled"))):
            keys = example_keys(jax.random.fold_in(jax.random.key(n), k), parts[name])
            total += jax.vmap(view)(keys, parts[name]["image"]).sum()
        return total, None

    return jax.jit(lambda: jax.lax.scan(step, 0.0, jnp.arange(num_steps))[0])


def pillow_views(image: Any, rng: np.random.Generator, strong: bool) -> Any:
    """A weak view of a Pillow image, and where it is asked for RandAugment and a gray square on top."""
    from PIL import Image, ImageEnhance, ImageOps

    side, pixels = image.width, max(1, round(image.width / 8))
    padded = np.pad(np.asarray(image), ((pixels, pixels), (pixels, pixels), (0, 0)), "reflect")
    top, left = rng.integers(0, 2 * pixels + 1, 2)
    image = Image.fromarray(padded[top : top + side, left : left + side])
    image = ImageOps.mirror(image) if rng.random() < 0.5 else image
    if not strong:
        return image
    sign = rng.choice([-1, 1], 2)

    def affine(*matrix):
        return lambda im, s: im.transform(im.size, Image.Transform.AFFINE, matrix_of(matrix, s), fillcolor=(127,) * 3)

    def matrix_of(operation, s):
        slope, move = 0.09 * s, 0.14 * side * s
        return {"x": (1, slope, 0, 0, 1, 0), "y": (1, 0, 0, slope, 1, 0), "right": (1, 0, move, 0, 1, 0)}.get(
            operation[0], (1, 0, 0, 0, 1, move)
        )

    enhancers = (ImageEnhance.Brightness, ImageEnhance.Color, ImageEnhance.Contrast, ImageEnhance.Sharpness)
    operations = [
        lambda im, s: im,
        *(affine(name) for name in ("x", "y", "right", "down")),
        lambda im, s: im.rotate(9 * s, fillcolor=(127,) * 3),
        *(lambda im, s, kind=kind: kind(im).enhance(1 + 0.27 * s) for kind in enhancers),
        lambda im, s: ImageOps.posterize(im, 7),
        lambda im, s: ImageOps.solarize(im, 179),
        lambda im, s: ImageOps.autocontrast(im),
        lambda im, s: ImageOps.equalize(im),
    ]
    for k, operation in enumerate(rng.integers(0, len(operations), 2)):
        image = operations[operation](image, int(sign[k]))
    square = side // 2
    top, left = rng.integers(0, side - square + 1, 2)
    image.paste((127,) * 3, (left, top, left + square, top + square))
    return image


def torch_steps(images: np.ndarray, labeled: int, unlabeled: int, num_steps: int, width: int, workers: int):
    """The same steps of FixMatch in eager PyTorch."""
    import copy

    import torch
    from PIL import Image
    from torch import nn
    from torch.nn import functional as F

    pixels = np.round(images * 255).astype(np.uint8)

    class Views(torch.utils.data.Dataset):
        def __init__(self, strong: tuple[bool, ...]):
            self.strong, self.rng = strong, np.random.default_rng(0)

        def __len__(self):
            return len(pixels)

        def __getitem__(self, i):
            views = (pillow_views(Image.fromarray(pixels[i]), self.rng, strong) for strong in self.strong)
            return [torch.tensor(np.asarray(v).transpose(2, 0, 1) / np.float32(255)) for v in views], i % CLASSES

    def forever(strong, count):
        loader = torch.utils.data.DataLoader(
            Views(strong), count, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
        )
        while True:
            yield from loader

    few, many = forever((False,), labeled), forever((False, True), unlabeled)
    torch.manual_seed(0)
    net = nn.Sequential(torch_network(width), nn.Linear(4 * width, CLASSES)).train()
    average = copy.deepcopy(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE, momentum=MOMENTUM, nesterov=True)

    def run() -> list[float]:
        losses = []
        for _ in range(num_steps):
            (x,), y = next(few)
            (weak, strong), _ = next(many)
            logits, weak_logits, strong_logits = net(torch.cat([x, weak, strong])).split(
                [labeled, unlabeled, unlabeled]
            )
            confidence, target = weak_logits.detach().softmax(-1).max(-1)
            accepted = (confidence >= 0.95).float()
            supervised = F.cross_entropy(logits, y)
            loss = supervised + (accepted * F.cross_entropy(strong_logits, target, reduction="none")).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for slow, fast in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
                    if slow.is_floating_point():
                        slow.lerp_(fast, 1 - DECAY)
            losses.append(supervised.item())
        return losses

    return run


def measure(
    *,
    batch_size: Annotated[int, Range(2)] = 32,
    side: Annotated[int, Range(8)] = 32,
    width: Annotated[int, Range(8)] = 32,
    num_steps: PositiveInt = 2,
    num_repeats: PositiveInt = 5,
    workers: Annotated[int, Range(0)] = 0,
) -> StudyResult:
    """Time ours and PyTorch's in shuffled turns.

    Args:
      batch_size: B, labeled images of a step.
      width: channels of the network's first stage.
    """
    images = np.random.default_rng(0).random((2 * RATIO * batch_size, side, side, 3), np.float32)
    form, many = (num_steps,), RATIO * batch_size
    functions = {
        "ours": our_steps(our_learner("fixmatch", side, width), images, batch_size, many, *form),
        "views": our_views(images, batch_size, many, *form),
        "vat": our_steps(our_learner("vat", side, width), images, batch_size, batch_size, *form),
        "supervised": our_steps(our_learner("supervised", side, width), images, batch_size, batch_size, *form),
        "supervised, twice as many": our_steps(
            our_learner("supervised", side, width), images, 2 * batch_size, batch_size, *form
        ),
    }
    if torch_on_all_cores():
        functions["torch"] = torch_steps(images, batch_size, many, num_steps, width, workers)
    times = interleaved(functions, num_repeats, steps=num_steps)
    numbers = {f"{name}: s": t.median for name, t in times.items()}
    fraction = times["views"].median / times["ours"].median
    added = ratio(times, "vat", "supervised").median - 1
    same = ratio(times, "vat", "supervised, twice as many").median
    numbers |= {"FixMatch, augmentation's share": fraction, "VAT adds, supervised steps": added}
    numbers |= ratio(times, "vat", "supervised, twice as many").rows("VAT over supervised, as many images")
    numbers["FixMatch, images/s"] = (1 + RATIO) * batch_size / times["ours"].median
    summaries, speed = [], None
    if "torch" in times:
        speed = ratio(times, "torch", "ours")
        numbers |= speed.rows("FixMatch, torch over ours")
        summaries.append(f"FixMatch {speed.median:.2f}x torch")
    summaries.append(f"augmentation takes {100 * fraction:.0f}% of its step")
    summaries.append(f"VAT adds {added:.2f} supervised steps (at most {MOST_ADDED}), {same:.2f}x one of as many images")
    bars = {"FixMatch, torch over ours": {"": speed.median}} if speed else {}
    headline = (
        None
        if speed is None
        else Headline("FixMatch step, time of PyTorch's over ours", speed.median, "synthetic", tolerance=0.5)
    )
    return StudyResult(
        numbers,
        f"{provenance.hardware()}: {'; '.join(summaries)}.",
        {"ratios": bar_chart({**bars, "VAT adds, supervised steps": {"": added}}, "ratio of times")},
        bool((speed is None or speed.median >= 1) and added <= MOST_ADDED),
        headline,
    )


experiment = Study(
    __file__, __doc__, measure, smoke={"batch_size": 2, "side": 8, "width": 8, "num_steps": 1, "num_repeats": 1}
)

if __name__ == "__main__":
    main(experiment)
