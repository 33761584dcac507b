"""Time the parts of detectors and segmenters against torchvision, PyTorch and scipy, side by side in one run.

python -m experiments.bench.detection        (needs torch, and torchvision where a part's peer is in it)
python -m experiments.bench.detection --only=roi_align --num_repeats=9

Each part does the same work on both sides, on the same inputs, in shuffled turns; the claim holds where every part that
was timed is as many times as fast as its peer as it should be. Where RoIAlign, suppression, pasting or assignment give
other results than the peer, the bench stops with an error.

Measured on two quiet cores beside torch 2.13 and torchvision 0.28: RoIAlign 29 times as fast and its gradient 1.66,
suppression 2.8, a step of Faster R-CNN 1.20, DeepLab's forward pass 0.98; a step of a U-Net 0.80, and 0.62 where
PyTorch has its channels last.
"""

import functools
import importlib
import itertools
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.detection import two_stage
from dlcore.detection.dense import Candidates, select
from dlcore.detection.faster_rcnn import FasterRCNN, crop_regions
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.models import create_model
from dlcore.ops.assignment import assign
from dlcore.ops.mask_paste import paste_masks
from dlcore.ops.nms import nms
from dlcore.run import provenance
from dlcore.segmentation.torch_segmenters import create_segmenter
from dlcore.segmentation.unet import UNet
from experiments.bench.timing import bar_chart, interleaved, ratio

LEAST = {
    "nms": 1.0,
    "select": 1.0,
    "roi_align": 0.7,
    "roi_align backward": 0.7,
    "faster_rcnn step": 0.8,
    "unet step": 0.8,
    "deeplab forward": 0.9,
    "paste_masks": 1.0,
    "assign": 1.0,
}
"""How many times as fast as its peer each part should be."""


def works(package: str) -> bool:
    """Whether a package is there and fits the others: a torchvision built for another torch fails when imported."""
    try:
        importlib.import_module(package)
    except (ImportError, RuntimeError):
        return False
    return True


def boxes_of(seed: int, *shape: int, size: tuple[int, int] = (320, 320)) -> np.ndarray:
    """Boxes [..., 4] of 8 to 120 pixels in an image of (height, width)."""
    rng = np.random.default_rng(seed)
    sides = np.exp(rng.uniform(np.log(8), np.log(120), (*shape, 2)))
    corner = rng.uniform(0, 1, (*shape, 2)) * (np.array(size[::-1]) - sides)
    return np.concatenate([corner, corner + sides], -1).astype(np.float32)


def check(name: str, ours: Any, reference: Any, tolerance: float) -> None:
    """Stop where the two results differ."""
    error = float(np.abs(np.asarray(ours, np.float64) - np.asarray(reference, np.float64)).max())
    if error > tolerance:
        raise ValueError(f"{name}: differs from its peer by {error:.2g}; allowed: {tolerance:g}")


def suppression(batch: int = 8, count: int = 1000, classes: int = 5) -> dict[str, Callable]:
    """NMS within classes: ours over a batch, torchvision's image by image."""
    import torch
    from torchvision.ops import batched_nms

    rng, boxes = np.random.default_rng(1), boxes_of(0, batch, count)
    scores = rng.uniform(size=(batch, count)).astype(np.float32)
    labels = rng.integers(0, classes, (batch, count))
    ours = jax.jit(jax.vmap(lambda b, s, g: nms(b, s, 0.5, groups=g)))
    tensors = [torch.from_numpy(x) for x in (boxes, scores, labels)]

    def torch_call():
        return [batched_nms(*image, 0.5) for image in zip(*tensors, strict=True)]

    valid = np.zeros((batch, count), bool)
    for row, index in zip(valid, torch_call(), strict=True):
        row[index.numpy()] = True
    check("nms", ours(boxes, scores, labels), valid, 0)
    return {"ours": functools.partial(ours, *map(jnp.asarray, (boxes, scores, labels))), "torchvision": torch_call}


def postprocessing(batch: int = 8, count: int = 1000, classes: int = 5, num_boxes: int = 100) -> dict[str, Callable]:
    """Clip, threshold, suppress and keep the best 100: ours over a batch, torchvision's operations image by image."""
    import torch
    from torchvision.ops import batched_nms, clip_boxes_to_image

    rng, boxes = np.random.default_rng(1), boxes_of(0, batch, count) + 4
    scores = rng.uniform(size=(batch, count)).astype(np.float32)
    labels = rng.integers(0, classes, (batch, count)).astype(np.int32)
    settings = {"score_thresh": 0.05, "nms_thresh": 0.5, "detections_per_img": num_boxes}
    ours = jax.jit(jax.vmap(lambda b, s, g: select(Candidates(b, s, g, jnp.zeros_like(g)), (320, 320), **settings)))
    tensors = [torch.from_numpy(x) for x in (boxes, scores, labels)]

    def torch_call():
        torch_boxes = []
        for b, s, g in zip(*tensors, strict=True):
            b, above = clip_boxes_to_image(b, (320, 320)), s > 0.05
            b, s, g = b[above], s[above], g[above]
            best = batched_nms(b, s, g, 0.5)[:num_boxes]
            torch_boxes.append((b[best], s[best], g[best]))
        return torch_boxes

    actual, expected = ours(boxes, scores, labels), torch_call()
    for i, (b, s, _) in enumerate(expected):
        check("select: scores", actual["scores"][i, : len(s)], s, 1e-6)
        check("select: boxes", actual["boxes"][i, : len(b)], b, 1e-4)
    return {"ours": functools.partial(ours, *map(jnp.asarray, (boxes, scores, labels))), "torchvision": torch_call}


def region_crops(regions: int = 512, channels: int = 256, side: int = 320) -> dict[str, dict[str, Callable]]:
    """RoIAlign of 512 boxes to 7 x 7 from four levels, forward, and with the gradient of the levels."""
    import torch
    from torchvision.ops import MultiScaleRoIAlign

    rng = np.random.default_rng(0)
    levels = [rng.uniform(size=(1, side // s, side // s, channels)).astype(np.float32) for s in (4, 8, 16, 32)]
    boxes = boxes_of(2, regions, size=(side, side))
    weights = rng.normal(size=(regions, 7, 7, channels)).astype(np.float32)

    def crop(levels, boxes):
        return crop_regions(levels, boxes[None], (side, side), 7)[0]

    forward = jax.jit(crop)
    backward = jax.jit(jax.grad(lambda levels, boxes, w: (crop(levels, boxes) * w).sum()))
    pool = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
    maps = {str(i): torch.from_numpy(np.moveaxis(x, -1, 1).copy()).requires_grad_() for i, x in enumerate(levels)}
    tensor, cotangent = torch.from_numpy(boxes), torch.from_numpy(np.moveaxis(weights, -1, 1).copy())

    def torch_forward():
        with torch.no_grad():
            return pool(maps, [tensor], [(side, side)])

    def torch_backward():
        return torch.autograd.grad((pool(maps, [tensor], [(side, side)]) * cotangent).sum(), list(maps.values()))

    levels, boxes, weights = jax.tree.map(jnp.asarray, (levels, boxes, weights))
    check("roi_align", np.moveaxis(np.asarray(forward(levels, boxes)), -1, 1), torch_forward(), 1e-5)
    return {
        "roi_align": {"ours": functools.partial(forward, levels, boxes), "torchvision": torch_forward},
        "roi_align backward": {
            "ours": functools.partial(backward, levels, boxes, weights),
            "torchvision": torch_backward,
        },
    }


def faster_rcnn_step(batch: int = 2, side: int = 320, classes: int = 5) -> dict[str, Callable]:
    """A training step of Faster R-CNN on ResNet-18 with a pyramid, by SGD."""
    import torch
    from torchvision.models.detection import FasterRCNN as Theirs
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    images = np.random.default_rng(0).uniform(size=(batch, side, side, 3)).astype(np.float32)
    boxes, labels = boxes_of(3, batch, 6, size=(side, side)), np.arange(6)[None].repeat(batch, 0) % classes
    model = FasterRCNN(create_model("resnet18"), classes)
    learner = two_stage.learner(model=model, optimizer=optax.sgd(1e-3))
    rows = {"image": images, "boxes": boxes, "labels": labels.astype(np.int32), "box_mask": np.ones((batch, 6), bool)}
    rows = jax.tree.map(jnp.asarray, rows | {"index": np.arange(batch)})
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    update = jax.jit(learner.update)
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=5)
    limits = {"rpn_pre_nms_top_n_train": 1000, "rpn_post_nms_top_n_train": 1000}
    torch_model = Theirs(backbone, classes + 1, min_size=side, max_size=side, **limits).train()
    optimizer = torch.optim.SGD(torch_model.parameters(), 1e-3)
    inputs = [torch.from_numpy(np.moveaxis(image, -1, 0).copy()) for image in images]
    targets = [
        {"boxes": torch.from_numpy(b), "labels": torch.from_numpy(c + 1)} for b, c in zip(boxes, labels, strict=True)
    ]

    def step():
        optimizer.zero_grad(set_to_none=True)
        sum(torch_model(inputs, targets).values()).backward()
        optimizer.step()

    return {"ours": functools.partial(update, state, rows), "torchvision": step}


def unet_step(batch: int = 8, size: tuple[int, int] = (180, 240), widths=(16, 32, 64, 128)) -> dict[str, Callable]:
    """A training step of a U-Net with batch norm, by SGD; PyTorch's on 184 rows, as its 180 are no multiple of 8."""
    import torch
    from torch import nn
    from torch.nn import functional

    classes, rng = 11, np.random.default_rng(0)
    images = rng.normal(size=(batch, *size, 3)).astype(np.float32)
    labels = rng.integers(0, classes, (batch, *size))
    net, optimizer = UNet(classes, widths), optax.sgd(1e-3)
    variables = jax.jit(net.init)(jax.random.key(0), images[:1])

    @jax.jit
    def step(variables, x, y):
        def loss(params):
            logits, updated = net.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), updated

        gradients, updated = jax.grad(loss, has_aux=True)(variables["params"])
        updates, _ = optimizer.update(gradients, optimizer.init(variables["params"]))
        return {"params": optax.apply_updates(variables["params"], updates), **updated}

    def block(inputs: int, outputs: int) -> nn.Sequential:
        layers = []
        for i in range(2):
            layers += [nn.Conv2d(outputs if i else inputs, outputs, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers)

    class Theirs(nn.Module):
        def __init__(self):
            super().__init__()
            self.down = nn.ModuleList(block(a, b) for a, b in zip((3, *widths), widths, strict=False))
            pairs = list(itertools.pairwise(widths))[::-1]
            self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairs)
            self.join = nn.ModuleList(block(2 * a, a) for a, _ in pairs)
            self.head = nn.Conv2d(widths[0], classes, 1)

        def forward(self, x):
            maps = []
            for k, down in enumerate(self.down):
                x = down(functional.max_pool2d(x, 2) if k else x)
                maps.append(x)
            for up, block, fine in zip(self.up, self.join, maps[-2::-1], strict=True):
                x = block(torch.cat([fine, up(x)], 1))
            return self.head(x)

    torch_model, tensor = Theirs(), torch.from_numpy(np.moveaxis(images, -1, 1).copy())
    descent, target = torch.optim.SGD(torch_model.parameters(), 1e-3), torch.from_numpy(labels)
    multiple = 2 ** (len(widths) - 1)
    rows, columns = (-n % multiple for n in size)

    def torch_step(x):
        descent.zero_grad(set_to_none=True)
        logits = torch_model(functional.pad(x, (0, columns, 0, rows)))[..., : size[0], : size[1]]
        functional.cross_entropy(logits, target).backward()
        descent.step()

    last = tensor.contiguous(memory_format=torch.channels_last)
    return {
        "ours": functools.partial(step, variables, jnp.asarray(images), jnp.asarray(labels)),
        "torch": functools.partial(torch_step, tensor),
        "torch, channels last": functools.partial(torch_step, last),
    }


def deeplab_forward(side: int = 320) -> dict[str, Callable]:
    """DeepLabV3 on ResNet-50, one image."""
    import torch
    from torchvision.models.segmentation import deeplabv3_resnet50

    x = np.random.default_rng(0).normal(size=(1, side, side, 3)).astype(np.float32)
    net = create_segmenter("deeplabv3_resnet50")
    variables = jax.jit(net.init)(jax.random.key(0), x)
    ours = jax.jit(lambda variables, x: net.apply(variables, x))
    torch_model = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=21, aux_loss=False).eval()
    tensor = torch.from_numpy(np.moveaxis(x, -1, 1).copy())

    def torch_forward():
        with torch.no_grad():
            return torch_model(tensor)["out"]

    return {"ours": functools.partial(ours, variables, jnp.asarray(x)), "torchvision": torch_forward}


def pasting(count: int = 100, size: tuple[int, int] = (240, 320)) -> dict[str, Callable]:
    """Paste 100 masks of 28 x 28 into an image."""
    import torch
    from torchvision.models.detection.roi_heads import paste_masks_in_image

    masks = np.random.default_rng(0).uniform(size=(count, 28, 28)).astype(np.float32)
    boxes = boxes_of(4, count, size=size)
    ours = jax.jit(lambda masks, boxes: paste_masks(masks, boxes, size))
    tensors = torch.from_numpy(masks[:, None]), torch.from_numpy(boxes)

    def torch_call():
        return paste_masks_in_image(*tensors, size)

    check("paste_masks", ours(masks, boxes), torch_call()[:, 0], 1e-4)
    return {"ours": functools.partial(ours, jnp.asarray(masks), jnp.asarray(boxes)), "torchvision": torch_call}


def matching(batch: int = 16, queries: int = 100, boxes: int = 20) -> dict[str, Callable]:
    """The best assignment of 100 queries to 20 boxes: ours over a batch, scipy's image by image."""
    from scipy.optimize import linear_sum_assignment

    costs = np.random.default_rng(0).uniform(size=(batch, queries, boxes)).astype(np.float32)
    ours = jax.jit(jax.vmap(assign))

    def torch_call():
        return [linear_sum_assignment(cost) for cost in costs]

    for cost, matches, (rows, columns) in zip(costs, np.asarray(ours(costs)), torch_call(), strict=True):
        check("assign", cost[matches, np.arange(boxes)].sum(), cost[rows, columns].sum(), 1e-4)
    return {"ours": functools.partial(ours, jnp.asarray(costs)), "scipy": torch_call}


PARTS: dict[str, tuple[tuple[str, ...], Callable]] = {
    "nms": (("torch", "torchvision"), suppression),
    "select": (("torch", "torchvision"), postprocessing),
    "roi_align": (("torch", "torchvision"), region_crops),
    "faster_rcnn step": (("torch", "torchvision"), faster_rcnn_step),
    "unet step": (("torch",), unet_step),
    "deeplab forward": (("torch", "torchvision"), deeplab_forward),
    "paste_masks": (("torch", "torchvision"), pasting),
    "assign": (("scipy",), matching),
}
"""name -> (packages of the peer, what builds the functions to time)."""


def measure(*, only: str = "", num_repeats: PositiveInt = 7) -> StudyResult:
    """Time ours and theirs in shuffled turns."""
    parts = {name: part for name, part in PARTS.items() if only in name}
    if not parts:
        raise ValueError(f"only={only!r}: in no name; allowed: a part of {', '.join(PARTS)}")
    if works("torch"):
        import torch

        torch.set_num_threads(os.cpu_count() or 1)
    runs: dict[str, dict[str, Callable]] = {}
    missing = []
    for name, (packages, build) in parts.items():
        if not all(works(package) for package in packages):
            missing.append(name)
            continue
        built = build()
        runs |= {name: built} if "ours" in built else built
    numbers: dict[str, Any] = {}
    speeds: dict[str, dict[str, float]] = {}
    for name, functions in runs.items():
        times = interleaved(functions, num_repeats, least_seconds=0.05)
        numbers |= {f"{name}, {who}: ms": 1e3 * t.median for who, t in times.items()}
        libraries = [who for who in functions if who != "ours"]
        speeds[name] = {who: ratio(times, who, "ours").median for who in libraries}
        for who in libraries:
            numbers |= ratio(times, who, "ours").rows(f"{name}, {who} over ours")
    first = {name: next(iter(values.values())) for name, values in speeds.items()}
    verdict = f"{provenance.hardware()}: speed over the peer's: " + "; ".join(
        f"{name} {value:.2f}x (claimed {LEAST[name]:g}x)" for name, value in first.items()
    )
    if missing:
        verdict += f"{'; ' if first else ''}no peer is installed that works, for {', '.join(missing)}"
    one = next(iter(first.items()), None)
    headline = Headline(f"{one[0]}, time of the peer over ours", one[1], "synthetic", tolerance=0.5) if one else None
    return StudyResult(
        numbers,
        verdict + ".",
        {"speeds": bar_chart(speeds, "times as fast")} if speeds else {},
        all(value >= LEAST[name] for name, value in first.items()) if first else None,
        headline,
    )


experiment = Study(__file__, __doc__, measure, smoke={"only": "assign", "num_repeats": 1})

if __name__ == "__main__":
    main(experiment)
