"""From R-CNN over Fast to Faster R-CNN an image gets cheaper, as the backbone looks at it once, not once a region.

python -m experiments.studies.rcnn_lineage

Three detectors with the same backbone learn on the same scenes, in as many steps: R-CNN warps every region of selective
search to one size and calls the backbone on each, Fast R-CNN crops these regions from one map of the image, and Faster
R-CNN proposes the regions itself. Measured are mAP on test scenes, the processor time of an image with and without its
proposals, and how often the backbone runs for an image, counted from the jaxpr of predict. The claim holds where it
runs N, 1 and 1 times for N regions, and an image takes less time from each to the next.

References: Girshick et al. 2014, arXiv:1311.2524; Girshick 2015, arXiv:1504.08083; Ren et al. 2015, arXiv:1506.01497.
"""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from dlcore.data.scenes import SHAPES
from dlcore.detection import two_stage
from dlcore.detection.faster_rcnn import FasterRCNN
from dlcore.detection.rcnn import RCNN
from dlcore.detection.selective_search import propose
from dlcore.diagnostics.jaxpr import walk
from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Seed, Study, StudyResult
from dlcore.learner import Learner
from dlcore.main import main
from dlcore.models import create_model
from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.run.progress import say
from experiments.studies.small_detectors import (
    mean_average_precision,
    milliseconds,
    rows_of,
    scene_arrays,
    standardize,
    train,
)

NAMES = ("R-CNN", "Fast R-CNN", "Faster R-CNN")


class Marked(nn.Module):
    """A backbone whose input carries a name, by which its calls are counted in a program."""

    net: nn.Module

    def features(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Compute the maps of the backbone."""
        return self.net.features(checkpoint_name(x, "backbone"), train=train)


class FastRCNN(FasterRCNN):
    """Faster R-CNN on given proposals."""

    given_proposals = True


def images_through(program: Any, name: str = "backbone") -> int:
    """Count the images that pass through arrays of a name, [..., H, W, C], in a jaxpr; loops count all their turns."""
    named = [(e, times) for e, times in walk(program) if e.primitive.name == "name" and e.params["name"] == name]
    return sum(times * math.prod(e.invars[0].aval.shape[:-3]) for e, times in named)


def backbone_calls(learner: Learner, state: Any, batch: dict) -> int:
    """Count how many images or regions the backbone sees in `predict` of a batch."""
    return images_through(jax.make_jaxpr(learner.predict)(state, batch).jaxpr)


def learners(width: int, region_size: int, num_proposals: int, optimizer: Callable) -> dict[str, Learner]:
    """Build the three detectors on one backbone."""

    def backbone():
        stages, fields = (1, 1, 1, 1), {"stem_stride": 2, "width": width, "num_classes": 1}
        return Marked(create_model("resnet8_cifar", stages=stages, **fields))

    pyramid = {
        "stages": ("stage3", "stage4"),
        "channels": 48,
        "extra_blocks": "none",
        "scales": (2.0, 3.0),
        "aspect_ratios": (1.0,),
    }
    head = {"num_classes": len(SHAPES), "box_channels": 128}
    models = (
        RCNN(backbone(), region_size=region_size, **head),
        FastRCNN(backbone(), **pyramid, **head),
        FasterRCNN(backbone(), **pyramid, **head),
    )
    build = partial(
        two_stage.learner,
        preprocess=standardize,
        num_proposals=num_proposals,
        rpn_batch_size_per_image=64,
        box_batch_size_per_image=24,
        topk_candidates=100,
        detections_per_img=30,
    )
    thresholds = ({"box_bg_iou_thresh": 0.3}, {}, {})
    return {
        name: build(model=model, optimizer=optimizer(), **fields)
        for name, model, fields in zip(NAMES, models, thresholds, strict=True)
    }


def study(
    *,
    num_train: PositiveInt = 600,
    num_test: PositiveInt = 96,
    image_size: PositiveInt = 96,
    num_proposals: PositiveInt = 60,
    region_size: PositiveInt = 32,
    width: PositiveInt = 16,
    steps: PositiveInt = 600,
    batch_size: PositiveInt = 16,
    learning_rate: NonNegativeFloat = 1e-3,
    seed: Seed = 0,
) -> StudyResult:
    """Train the three detectors, and count what an image costs.

    Args:
      num_test: test scenes, at least 16.
      image_size: side of the images, in pixels, a multiple of 16.
      num_proposals: regions of an image, N, from selective search and from the region proposal network.
      region_size: side in pixels that R-CNN warps regions to.
      width: channels of the backbone's first stage.
    """
    fit, test = scene_arrays(num_train, 0, image_size), scene_arrays(num_test, 2, image_size)
    start = time.process_time()
    for arrays in (fit, test):
        arrays |= propose(arrays["image"], num_proposals, spaces=("lab",), scales=(50.0, 100.0))
    search = 1000 * (time.process_time() - start) / (num_train + num_test)
    num_proposals_found = test["proposal_mask"].sum(1)

    def optimizer():
        schedule = optax.warmup_cosine_decay_schedule(0, learning_rate, max(1, steps // 10), max(2, steps))
        return optax.chain(optax.clip_by_global_norm(5.0), optax.adam(schedule))

    numbers, rows = {"selective search: ms an image": search, "regions an image": float(num_proposals_found.mean())}, {}
    for name, learner in learners(width, region_size, num_proposals, optimizer).items():
        state = train(learner, fit, steps, batch_size, seed)
        network = milliseconds(learner, state, test)
        rows[name] = {
            **mean_average_precision(learner, state, test),
            "ms": network,
            "with proposals": network + (search if name != NAMES[2] else 0),
            "calls": backbone_calls(learner, state, rows_of(test, np.arange(1))),
        }
        numbers |= {f"{name}: {what}": value for what, value in rows[name].items()}
        say(f"{name}: mAP {rows[name]['map']:.3f}")
    return report(numbers, rows, num_proposals)


def report(numbers: dict, rows: dict[str, dict[str, float]], num_proposals: int) -> StudyResult:
    """Judge the detectors by name: map, map50, ms, "with proposals" and calls."""
    calls = [rows[name]["calls"] for name in NAMES]
    times = [rows[name]["with proposals"] for name in NAMES]
    holds = calls == [num_proposals, 1, 1] and times[0] > times[1] > times[2]
    verdict = (
        "; ".join(
            f"{name}: mAP {row['map']:.3f} (at .5: {row['map50']:.3f}), {row['ms']:.0f} ms an image and "
            f"{row['with proposals']:.0f} with its proposals, {row['calls']} call(s) of the backbone"
            for name, row in rows.items()
        )
        + "."
    )
    headline = Headline("R-CNN's ms of an image over Faster R-CNN's", times[0] / times[2], "scenes", tolerance=0.5)
    return StudyResult(numbers, verdict, {"lineage": draw(rows)}, bool(holds), headline)


def draw(rows: dict[str, dict[str, float]]):
    figure, (left, right) = new_figure((7.5, 3.0), 1, 2, grid="y")
    left.bar(list(rows), [row["with proposals"] for row in rows.values()], color=BLUE)
    left.set(ylabel="processor ms an image", yscale="log")
    right.bar(list(rows), [row["map"] for row in rows.values()], color=VERMILION)
    right.set(ylabel="mAP", ylim=(0, 1))
    for axes in (left, right):
        axes.tick_params(axis="x", labelsize=8)
    return figure


SMOKE = {
    "num_train": 8,
    "num_test": 16,
    "image_size": 48,
    "num_proposals": 8,
    "region_size": 16,
    "width": 4,
    "steps": 2,
    "batch_size": 4,
}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)
