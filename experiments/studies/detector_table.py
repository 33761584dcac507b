"""RT-DETR reaches DETR's AP in a third of its steps; a table of all detectors by one budget on the same scenes.

python -m experiments.studies.detector_table
python -m experiments.studies.detector_table --detectors=fcos,detr --num_seeds=1 --rows=rows.json        (two rows)
python -m experiments.studies.detector_table --dataset=coco --data_dir=D --num_seeds=1 --rows=blood.json

All detectors of this library learn on the same drawn scenes, with the same number of steps and images a step; network,
optimizer and every other setting are the defaults of each detector's page, but for ViTDet's windows of 4 patches. The
table has AP of boxes (mean over IoU 0.5 to 0.95), AP at IoU 0.5, AP of small, medium and large objects, which split the
diameters of the shapes into thirds, images a second of predict (one image at a time, by the processor's time), and
parameters. Beside the rows at the whole budget stands RT-DETR at a third of the steps.

The claim is that RT-DETR reaches DETR's AP in at most a third of the steps: it holds where its row at a third is at
least at DETR's on each seed. Where DETR's AP is below 1 % it has not begun to learn, and there is no verdict. With
`--rows` a file stores the rows: a run adds what its `--detectors` and `--num_seeds` name and the file lacks, and shows
all of them.

Measured of three seeds, on one core of a shared machine: AP in % with its standard deviation, AP at IoU 0.5, AP of
small, medium and large objects in %, images a second, parameters. Scenes by `--steps=1000`, all but Deformable DETR:

    cascade_rcnn      87.1 ± 0.3  99.6  84.4  90.3  93.6    84  1,355,801
    mask_rcnn         81.5 ± 0.1  97.5  78.0  85.4  87.8    74    740,099
    faster_rcnn       79.1 ± 0.0  95.6  74.1  82.8  88.0   202    712,669
    fcos              73.6 ± 1.9  92.5  67.8  81.6  85.4   779    435,068
    center_net        69.3 ± 0.2  91.4  67.5  72.2  78.0   565    435,833
    retinanet         68.9 ± 2.0  88.7  64.0  74.6  83.6   790    454,118
    yolo_anchor_free  59.8 ± 3.6  75.3  52.5  68.0  81.2   697    526,010
    yolo              52.0 ± 6.9  82.4  49.7  54.7  65.6  1107    408,479
    ssd               46.0 ± 3.8  71.3  46.1  46.7  52.9   918    447,960
    vitdet            45.3 ± 7.0  60.9  41.0  50.0  60.7    90    910,563
    rt_detr           32.5 ± 2.4  45.1  30.2  35.8  51.3   158    748,875
    d_fine            23.6 ± 13.5  35.2  20.8  25.4  40.6   126    700,241
    rt_detr_third      1.9 ± 0.9   4.6   2.4   1.7   5.3   171    748,875
    detr               0.3 ± 0.0   1.1   0.3   1.0   4.1   528    871,706

The same scenes by the first command, after 240 steps:

    cascade_rcnn      42.2 ± 2.2  59.8  34.6  47.3  64.6    86  1,355,801
    faster_rcnn       30.0 ± 2.1  46.4  26.4  30.6  51.8   222    712,669
    mask_rcnn         29.5 ± 2.8  44.7  25.0  33.9  52.8    78    740,099
    center_net        23.2 ± 6.2  42.6  24.3  27.4  34.0   671    435,833
    retinanet         13.1 ± 0.4  25.1  11.7  16.9  24.1   884    454,118
    fcos              12.1 ± 0.1  22.1  12.3  13.6  30.3   863    435,068
    yolo_anchor_free   8.3 ± 2.5  17.2   8.2   8.8  25.4   708    526,010
    vitdet             5.7 ± 2.3  14.6   4.6   9.7  10.6   123    910,563
    deformable_detr    5.4 ± 0.6  15.5   3.7   8.6  16.0    85    469,524
    ssd                4.5 ± 1.5  13.2   4.3   7.3   8.1   914    447,960
    rt_detr            1.1 ± 0.6   3.3   1.1   1.9   2.8   199    748,875
    d_fine             1.0 ± 0.3   2.6   0.8   1.9   1.8   162    700,241
    detr               0.1 ± 0.1   0.5   0.1   0.9   3.1   497    871,706
    rt_detr_third      0.1 ± 0.0   0.5   0.2   0.3   0.3   201    748,875
    yolo               0.0 ± 0.0   0.0   0.0   0.0   0.0  1123    408,479

BCCD's blood cells by the third command with `--image_size=96` and three seeds, without Mask R-CNN and ViTDet, which
learn masks:

    center_net        37.8 ± 0.5  69.4  22.1  43.6  34.8   306    434,967
    cascade_rcnn      37.7 ± 0.8  65.7  17.9  47.4  36.2    77  1,351,931
    faster_rcnn       36.1 ± 0.7  66.0  16.9  46.3  35.1   167    711,379
    fcos              32.2 ± 0.6  55.7  15.0  41.6  33.8   456    434,202
    yolo_anchor_free  32.2 ± 0.4  54.3  12.1  36.4  34.3   428    525,814
    retinanet         25.7 ± 0.5  52.1  10.1  31.4  27.9   420    448,922
    ssd               25.6 ± 0.4  52.4   7.7  28.0  27.6   597    427,200
    d_fine            23.7 ± 1.2  44.3   8.8  30.0  25.8   105    699,723
    rt_detr           22.9 ± 3.4  40.3   7.9  24.4  25.5   114    748,357
    deformable_detr   21.7 ± 1.3  45.8   8.7  25.5  23.9    42    472,592
    rt_detr_third      8.0 ± 0.9  25.7   1.3   3.9   9.5   101    748,357
    yolo               7.8 ± 5.7  22.5   2.5   4.9  11.1   627    408,349
    detr               0.4 ± 0.1   2.2   2.1   1.4   0.6   251    875,160

After 1,000 steps of 8 images RT-DETR is at 32.5 % and DETR at 0.3 %: DETR has not begun to learn, and the claim gets no
verdict here. RT-DETR's row at a third of the steps is above DETR's on each seed. The defaults of the pages judge it, on
the same scenes by 16 images a step: experiments.detection.rt_detr has an AP of 87.8 % after 1,500 steps,
experiments.detection.d_fine 86.8 %, experiments.detection.deformable_detr 82.7 %, and experiments.detection.detr 76.7 %
after 4,500. One seed of each was trained.

References: the page of each detector in experiments/detection names its paper; Zhao et al. 2024, arXiv:2304.08069
(RT-DETR, and its comparison with DETR's kind).
"""

import importlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np

from dlcore.data.splits import Splits
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.learner import Learner, Range
from dlcore.main import main
from dlcore.report.figure import BLUE, GREEN, ORANGE, VERMILION, new_figure, seed_dots
from dlcore.run.json_files import write_json
from dlcore.run.progress import say
from experiments.studies.self_supervised_table import read_rows
from experiments.studies.small_detectors import SIZES, coco_result, milliseconds, train

KINDS = {
    "two stages": (BLUE, ("faster_rcnn", "mask_rcnn", "cascade_rcnn", "vitdet")),
    "one stage": (GREEN, ("retinanet", "fcos", "ssd", "yolo", "yolo_anchor_free", "center_net")),
    "queries": (VERMILION, ("detr", "deformable_detr", "rt_detr", "d_fine")),
}
PAGES = tuple(name for _, names in KINDS.values() for name in names)
THIRD = "rt_detr_third"
"""RT-DETR's row at a third of the steps."""
DETECTORS = (*PAGES, THIRD)
LEAST_AP = 0.01
"""DETR's AP from which on it has begun to learn, and is compared."""
OF_MASKS = ("mask_rcnn", "vitdet")
"""Detectors that learn masks too, which scenes have."""
MOST_OBJECTS = 50
"""Queries, and detections of an image, on photographs."""
MEASURES = ("AP", "AP50", *SIZES)


def flags_of(name: str, image_size: int, data_dir: str | None = None) -> list[str]:
    """The flags of a page beyond those that all share.

    A ViT's positions and windows are those of the image, and photographs have more objects than scenes.
    """
    flags = []
    if name == "vitdet":
        flags = [f"--model.{field}={image_size}" for field in ("image_size", "pretrain_size")]
        flags.append("--model.window_size=4")
    if data_dir is not None:
        flags += ["--dataset=coco", f"--data_dir={data_dir}", f"--detections_per_img={MOST_OBJECTS}"]
        if name in KINDS["queries"][1]:
            flags.append(f"--{name}.num_queries={MOST_OBJECTS}")
    return flags


def build(
    name: str, steps: int, batch_size: int, num_scenes: int, image_size: int, data_dir: str | None = None
) -> tuple[Learner, Splits]:
    """Build the learner of a detector's page, and read its photographs or draw its scenes, which all share."""
    if name == THIRD:
        name, steps = "rt_detr", max(1, steps // 3)
    experiment = importlib.import_module(f"experiments.detection.{name}").experiment
    shared = {"steps": steps, "batch_size": batch_size} | ({} if data_dir else {"num_scenes": num_scenes})
    words = [*(f"--{flag}={value}" for flag, value in shared.items()), f"--image_size={image_size},{image_size}"]
    resolved = ResolvedRun(experiment, resolve(experiment, [*words, *flags_of(name, image_size, data_dir)]))
    splits = experiment.run(resolved.flags).load()
    return resolved.training_of(splits).build(), splits


def size_limits(image_size: int) -> tuple[float, float]:
    """Areas that split the diameters of scenes, 16 pixels to half a side, into thirds."""
    smallest, largest = 16, image_size // 2
    third = (largest - smallest) / 3
    return (smallest + third) ** 2, (largest - third) ** 2


def size_limits_of(arrays: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Areas between which a third of the objects of photographs lies."""
    corners = arrays["boxes"][arrays["box_mask"]]
    low, high = np.quantile(np.prod(corners[:, 2:] - corners[:, :2], -1), (1 / 3, 2 / 3))
    return float(low), float(high)


def measure(
    name: str,
    seeds: list[int],
    steps: int,
    batch_size: int,
    num_scenes: int,
    image_size: int,
    data_dir: str | None = None,
) -> dict:
    """Train a detector with each seed: {"parameters", "images a second", "seeds": {seed: {measure: value}}}."""
    learner, splits = build(name, steps, batch_size, num_scenes, image_size, data_dir)
    steps = max(1, steps // 3) if name == THIRD else steps
    fit, test = (dict(part.arrays) for part in (splits.train, splits.test))
    limits = size_limits(image_size) if data_dir is None else size_limits_of(fit)
    num_classes = len(splits.train.class_names)
    row: dict[str, Any] = {"seeds": {}}
    for seed in seeds:
        state = train(learner, fit, steps, batch_size, seed)
        stats = coco_result(learner, state, test, limits, num_classes=num_classes).stats
        row["seeds"][str(seed)] = dict(zip(MEASURES, map(float, stats[[0, 1, 3, 4, 5]]), strict=True))
        row["parameters"] = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    return {**row, "images a second": 1000 / milliseconds(learner, state, test)}


def values_of(row: dict[str, Any], measure: str = "AP") -> np.ndarray:
    """Read a measure of a row by seed."""
    return np.array([values[measure] for _, values in sorted(row["seeds"].items())])


def report(rows: dict[str, dict[str, Any]], dataset: str = "scenes") -> StudyResult:
    """Judge {detector: row}; there is a verdict on the claim where DETR and both rows of it are measured alike."""
    ranked = sorted(rows, key=lambda name: -values_of(rows[name]).mean())
    numbers: dict[str, Any] = {}
    for name in ranked:
        cells = {key: values_of(rows[name], key) for key in MEASURES}
        numbers[name] = {
            **{key: f"{100 * values.mean():.1f} ± {100 * values.std():.1f}" for key, values in cells.items()},
            "images a second": round(rows[name]["images a second"]),
            "parameters": rows[name]["parameters"],
            "seeds": len(rows[name]["seeds"]),
        }
        numbers[f"AP, {name}"] = cells["AP"].tolist()
    verdict = "AP in %: " + ", ".join(f"{name} {100 * values_of(rows[name]).mean():.1f}" for name in ranked) + "."
    holds = headline = None
    if {"detr", THIRD} <= set(rows) and rows["detr"]["seeds"].keys() == rows[THIRD]["seeds"].keys():
        if (values_of(rows["detr"]) < LEAST_AP).any():
            verdict += " DETR's AP is below 1 % on a seed: too few steps for a verdict on RT-DETR."
            return StudyResult(numbers, verdict, {"table": draw(rows, ranked)})
        gain = 100 * (values_of(rows[THIRD]) - values_of(rows["detr"]))
        holds = bool((gain >= 0).all())
        verdict += (
            f" RT-DETR at a third of the steps is {gain.mean():+.1f} points of AP from DETR at all of them: it "
            f"{'reaches' if holds else 'does NOT reach'} DETR's AP on each seed."
        )
        headline = Headline("points of AP by which RT-DETR at a third of the steps is above DETR", gain, dataset)
    return StudyResult(numbers, verdict, {"table": draw(rows, ranked)}, holds, headline)


def color_of(name: str) -> str:
    return next((color for color, names in KINDS.values() if name in names), ORANGE)


def draw(rows: dict[str, dict[str, Any]], names: list[str]):
    figure, (left, right) = new_figure((8.4, 1.0 + 0.26 * len(names)), 1, 2, sharey=True, grid="x")
    colors = [color_of(name) for name in names]
    seed_dots(left, {name: values_of(rows[name]) for name in names}, colors, scale=100, horizontal=True)
    for position, (name, color) in enumerate(zip(names, colors, strict=True)):
        right.plot(rows[name]["images a second"], position, "o", color=color, markersize=5)
    left.set(xlabel="AP, %", xlim=(0, None))
    right.set(xlabel="images a second", xlim=(0, None))
    lines = [left.plot([], [], "o", color=color, label=kind)[0] for kind, (color, _) in KINDS.items()]
    figure.legend(handles=lines, ncols=len(lines), loc="lower left", frameon=False, fontsize=8)
    return figure


def study(
    *,
    detectors: tuple[str, ...] = DETECTORS,
    num_seeds: PositiveInt = 3,
    steps: PositiveInt = 240,
    batch_size: PositiveInt = 8,
    num_scenes: Annotated[int, Range(96)] = 1536,
    image_size: Annotated[int, Range(64)] = 64,
    dataset: Literal["scenes", "coco"] = "scenes",
    data_dir: str | None = None,
    rows: str | None = None,
) -> StudyResult:
    """Train all detectors with one budget, and measure them on the same scenes.

    Args:
      detectors: rows of the table to measure.
      num_seeds: repetitions, each with its own weights and batches.
      steps: training steps of each run.
      batch_size: scenes of a step.
      num_scenes: training scenes; a sixth as many test.
      image_size: side of the images in pixels, a multiple of 32; photographs are stretched to it.
      dataset: scenes (drawn), or coco: a folder in COCO's format, with boxes alone.
      data_dir: coco: the folder, as in experiments.detection.fcos.
      rows: JSON file of rows that are measured already, to which this run adds its own; none: all are measured anew.

    Raises:
      ValueError: a detector is unknown, or the file's rows have other settings.
    """
    if unknown := [name for name in detectors if name not in DETECTORS]:
        raise ValueError(f"detectors={unknown[0]}: unknown; allowed: {', '.join(DETECTORS)}")
    if image_size % 32:
        raise ValueError(f"image_size={image_size}: no stride of 32 divides it; allowed: multiples of 32")
    if (dataset == "coco") != (data_dir is not None):
        raise ValueError(
            f"data_dir={data_dir} with dataset={dataset}; allowed: a folder with coco, and none with scenes"
        )
    if data_dir is not None:
        if detectors != DETECTORS and (named := [name for name in detectors if name in OF_MASKS]):
            raise ValueError(f"detectors={named[0]}: dataset=coco is read without masks; allowed: the others")
        detectors = tuple(name for name in detectors if name not in OF_MASKS)
    settings = {"steps": steps, "batch_size": batch_size, "num_scenes": num_scenes, "image_size": image_size}
    if data_dir is not None:
        settings["data_dir"] = data_dir
    table = read_rows(rows, settings)
    for name in detectors:
        previous = table.get(name, {"seeds": {}})
        seeds = [seed for seed in range(num_seeds) if str(seed) not in previous["seeds"]]
        if not seeds:
            continue
        began = time.perf_counter()
        row = measure(name, seeds, **settings)
        table[name] = {**row, "seeds": {**previous["seeds"], **row["seeds"]}}
        say(f"{name}: AP {100 * values_of(table[name]).mean():.1f} %, {time.perf_counter() - began:.0f} s")
        if rows is not None:
            write_json(Path(rows), {"settings": settings, "rows": table})
    return report(table, dataset)


experiment = Study(
    __file__,
    __doc__,
    study,
    smoke={"detectors": ("ssd", "center_net"), "num_seeds": 1, "steps": 2, "batch_size": 4, "num_scenes": 96},
)

if __name__ == "__main__":
    main(experiment)
