"""Is a detector that reads one coarse map worse on small objects, and is a feature pyramid best on them?

python -m experiments.studies.object_sizes

Three detectors with the same backbone learn on the same scenes of 96 pixels, in as many steps, and differ in what they
read. YOLO reads one map of stride 16: 6 x 6 cells, where the first version has 7 x 7. SSD reads maps of strides 4, 8
and 16 as they leave the backbone, without the learned length of its first map: behind batch norm that halved its AP of
small objects, from 0.38 to 0.18 (one seed, other scenes). FPN reads the same strides after a top-down path, which adds
the coarser, deeper maps to the finer ones. Its anchors have the sides of SSD's default boxes (within 6 %), and its loss
is SSD's (dlcore.detection.single_stage), so that the two differ in the pyramid and in whether the levels share a head.

Measured is AP of the test scenes' small, medium and large objects: boxes of at most 12^2 square pixels, between, and of
at least 24^2. The shapes have diameters of 8 to 48 pixels; by COCO's limits of 32^2 and 96^2 none would be large. The
threshold is IoU 0.5, which asks whether an object is found and not how exactly: a box of 6 x 6 pixels that is one pixel
off in both directions has an IoU of 25 / 47 = 0.53. The claim holds where on every seed AP of small objects rises from
YOLO over SSD to FPN, and FPN gains more on YOLO at small objects than at large ones: else it is better at everything.

Measured over three seeds: it holds. AP of small, medium and large objects is 0.175, 0.291 and 0.510 for YOLO, 0.400,
0.494 and 0.703 for SSD, and 0.625, 0.800 and 0.905 for FPN. FPN gains 45 points on YOLO at small objects and 39 at
large ones, but 51 at medium ones; on SSD it gains 22, 31 and 20: the pyramid helps objects of all sizes, not small ones
most.

References: Redmon et al. 2016, arXiv:1506.02640, section 2.4 (YOLO struggles with small objects); Liu et al. 2016,
arXiv:1512.02325; Lin et al. 2017, arXiv:1612.03144, section 5.1 (the pyramid gains most on small objects).
"""

from collections.abc import Callable

import numpy as np
import optax

from dlcore.data.scenes import SHAPES, scenes
from dlcore.detection import single_stage, ssd, yolo
from dlcore.detection.anchor_detector import Matching
from dlcore.detection.dense import Thresholds
from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Study, StudyResult
from dlcore.learner import Learner
from dlcore.main import main
from dlcore.models import create_model
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure, seed_dots
from dlcore.run.progress import say
from experiments.studies.small_detectors import SIZES, average_precision_by_size, standardize, train

NAMES = ("YOLO", "SSD", "FPN")
STAGES = ("stage2", "stage3", "stage4")
"""Of the backbone, whose strides are 4, 8 and 16."""
SIDES = (8.0, 16.0, 32.0)
"""Of SSD's default boxes on each of them, in pixels, beside as many larger by the square root of 2; FPN's by 1.5."""


def detectors(width: int, image_size: int) -> dict[str, yolo.YOLO | ssd.SSD | single_stage.SingleStage]:
    """Build the three detectors, each with its own copy of the backbone."""

    def shared():
        stages, fields = (1, 1, 1, 1), {"stem_stride": 2, "width": width, "num_classes": 1}
        return {"backbone": create_model("resnet8_cifar", stages=stages, **fields), "num_classes": len(SHAPES)}

    one_map = {"stage": STAGES[-1], "num_convs": 2, "channels": 4 * width, "num_groups": 4}
    default_boxes = {
        "scales": tuple(side / image_size for side in (*SIDES, 2 * SIDES[-1])),
        "aspect_ratios": (),
        "boxes_per_location": (2, 2, 2),
        "steps": (),
    }
    many_maps = {"stages": STAGES, "extra_channels": (), "extra_strides": (), "l2_norm": False}
    pyramid = {"stages": STAGES, "channels": 3 * width, "extra_blocks": "none", "num_convs": 0}
    anchors = {"scales": (2.0, 3.0), "aspect_ratios": (1.0,)}
    return {
        "YOLO": yolo.YOLO(**shared(), **one_map),
        "SSD": ssd.SSD(**shared(), **many_maps, **default_boxes),
        "FPN": single_stage.SingleStage(**shared(), **pyramid, **anchors),
    }


def learners(width: int, image_size: int, optimizer: Callable[[], optax.GradientTransformation]) -> dict[str, Learner]:
    """Build the learners of the three detectors, with the same thresholds."""
    shared = {"preprocess": standardize, "thresholds": Thresholds(0.01, 0.5, 100, 50)}
    builders = {
        "YOLO": (yolo.learner, {}),
        "SSD": (ssd.learner, {}),
        "FPN": (single_stage.learner, {"matching": Matching(0.5, 0.5)}),
    }
    return {
        name: builders[name][0](model=model, optimizer=optimizer(), **shared, **builders[name][1])
        for name, model in detectors(width, image_size).items()
    }


def study(
    *,
    num_seeds: PositiveInt = 3,
    num_train: PositiveInt = 2000,
    num_test: PositiveInt = 320,
    image_size: PositiveInt = 96,
    width: PositiveInt = 16,
    steps: PositiveInt = 400,
    batch_size: PositiveInt = 16,
    learning_rate: NonNegativeFloat = 4e-3,
    small_side: float = 12.0,
    large_side: float = 24.0,
) -> StudyResult:
    """Train the three detectors, and measure AP of small, medium and large objects.

    Args:
      num_test: test scenes, a multiple of 16.
      image_size: side of the images, in pixels, a multiple of 16 above 48.
      width: channels of the backbone's first stage, a multiple of 4.
      small_side: side in pixels of a square as large as the largest small object.
      large_side: side in pixels of a square as large as the smallest large object.
    """
    fit, test = (
        dict(scenes(count, seed, size=image_size, smallest=8, largest=48).arrays)
        for count, seed in ((num_train, 0), (num_test, 2))
    )

    def optimizer():
        schedule = optax.warmup_cosine_decay_schedule(0, learning_rate, max(1, steps // 10), max(2, steps))
        return optax.chain(optax.clip_by_global_norm(5.0), optax.adam(schedule))

    limits, average_precision = (small_side**2, large_side**2), {}
    for name, learner in learners(width, image_size, optimizer).items():
        rows = []
        for seed in range(num_seeds):
            state = train(learner, fit, steps, batch_size, seed)
            precision = average_precision_by_size(learner, state, test, limits)
            say(f"{name}, seed {seed}: " + ", ".join(f"{size} {ap:.3f}" for size, ap in precision.items()))
            rows.append([precision[size] for size in SIZES])
        average_precision[name] = np.array(rows)
    return report(average_precision)


def report(average_precision: dict[str, np.ndarray]) -> StudyResult:
    """Judge AP at IoU 0.5 of each detector, [seeds, small to large]."""
    one_map, many_maps, pyramid = (average_precision[name] for name in NAMES)
    gain = pyramid - one_map
    rises = (many_maps[:, 0] > one_map[:, 0]).all() and (pyramid[:, 0] > many_maps[:, 0]).all()
    most_at_small = (gain[:, 0] > gain[:, -1]).all()
    holds = bool(rises and most_at_small)
    verdict = (
        "AP at IoU 0.5 of small, medium and large objects: "
        + "; ".join(f"{name} {', '.join(f'{ap:.3f}' for ap in average_precision[name].mean(0))}" for name in NAMES)
        + f". AP of small objects {'rises' if rises else 'does NOT rise'} from YOLO over SSD to FPN on every seed; FPN "
        f"gains {100 * gain[:, 0].mean():.1f} points on YOLO at small objects and {100 * gain[:, -1].mean():.1f} at "
        f"large ones, {'more at small ones' if most_at_small else 'NOT more at small ones'} on every seed."
    )
    numbers = {
        f"{name}, {size}: AP50 by seed": average_precision[name][:, i].tolist()
        for name in NAMES
        for i, size in enumerate(SIZES)
    }
    headline = Headline(
        "AP50 of small objects, FPN's less YOLO's", gain[:, 0], "scenes", baseline=(0.0, "YOLO", "higher")
    )
    return StudyResult(numbers, verdict, {"sizes": draw(average_precision)}, holds, headline)


def draw(average_precision: dict[str, np.ndarray]):
    figure, axes = new_figure((5.6, 3.2), grid="y")
    for name, color, shift in zip(NAMES, (VERMILION, GREEN, BLUE), (-0.26, 0.0, 0.26), strict=True):
        groups = {f"{size} objects": row for size, row in zip(SIZES, average_precision[name].T, strict=True)}
        seed_dots(axes, groups, color, label=name, shift=shift)
    axes.set(ylabel="AP at IoU 0.5", ylim=(0, 1))
    axes.legend(loc="upper left", frameon=False)
    return figure


SMOKE = {"num_seeds": 1, "num_train": 8, "num_test": 16, "image_size": 64, "width": 4, "steps": 2, "batch_size": 4}

experiment = Study(__file__, __doc__, study, smoke=SMOKE)

if __name__ == "__main__":
    main(experiment)
