"""Numbers of pictures, labels without a name and arrays that do not fit are refused before a panel is drawn."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from dlcore.report import (
    adversarial,
    chart,
    class_images,
    classification,
    curves,
    detection,
    few_shot,
    figure,
    film,
    filters,
    flow,
    generative,
    gridworld,
    memory,
    panoptic,
    pictures,
    segmentation,
    self_supervised,
    semi_supervised,
    sequence,
    shapes,
    sound,
    tables,
    tracking,
    vision_language,
)

NAN = float("nan")
IMAGES, PIXELS = np.zeros((2, 4, 4, 3)), np.zeros((4, 4, 3), np.uint8)
LABELS, SURE = np.array([0, 1]), np.full((2, 2), 0.5)
MAP, NAMES, COLORS = np.zeros((4, 4), int), ("a", "b"), np.zeros((2, 3), np.uint8)
BOXES, POINTS, WAVES = np.array([[0, 0, 2, 2.0]]), np.eye(3), np.zeros((2, 8))


def axes():
    return Figure().subplots()


def boxes_on(image=PIXELS, boxes=BOXES, labels=(0,), **options):
    return detection.draw_boxes(image, boxes, np.array(labels), NAMES, **options)


def attacked(**options):
    given = {"images": IMAGES, "attacked": IMAGES, "epsilon": 0.1, "titles": NAMES}
    return adversarial.attacked_images(**given | options)


CASES = {
    "pixel change": (lambda: attacked(epsilon=-1.0), "epsilon=-1: out of range; allowed: at least 0"),
    "fewer attacked": (lambda: attacked(attacked=IMAGES[:1]), r"attacked=.*\[1, 4, 4, 3\]: wrong shape"),
    "fewer titles": (lambda: attacked(titles=("a",)), "titles=1 titles: for 2 images"),
    "size of a chart": (lambda: chart.new_chart((4, 0)), "size=0: out of range; allowed: above 0"),
    "rows of a chart": (lambda: chart.new_chart((4, 4), 1.5), "rows=1.5: no whole number"),
    "series": (lambda: chart.legend_key("a", 0), "series=0: out of range; allowed: at least 1"),
    "versions": (lambda: class_images.training_images(IMAGES, IMAGES, NAMES), r"versions=\(2, 4, 4, 3\)"),
    "best images": (lambda: class_images.best_and_worst(IMAGES, LABELS, SURE, count=0), "count=0: out of range"),
    "class of images": (lambda: class_images.best_and_worst(IMAGES, LABELS + 1, SURE), r"labels\[1\]=2: out of range"),
    "counts": (lambda: classification.confusion_matrix([[-1]]), r"counts\[0, 0\]=-1: no count"),
    "no counts": (lambda: classification.confusion_matrix(np.ones((0, 0))), r"counts=\(0, 0\): wrong shape"),
    "label": (lambda: classification.worst_mistakes(IMAGES, LABELS - 1, SURE), r"labels\[0\]=-1: out of range"),
    "probability": (
        lambda: classification.worst_mistakes(IMAGES, LABELS, NAN * SURE),
        r"probabilities\[0, 0\]=nan: not finite",
    ),
    "points of a line": (lambda: curves.thin(np.arange(4), np.arange(4), 0), "limit=0: too small; allowed: at least 2"),
    "no history": (lambda: curves.curves(None), "history=NoneType: no rows; allowed: a list of dicts"),
    "rows": (lambda: tables.table([1]), "rows=list: no rows; allowed: a list of dicts, or one dict"),
    "modes": (lambda: generative.scatter(SURE, POINTS), "centers=.*: wrong shape"),
    "no mode": (lambda: generative.scatter(SURE, SURE[:0]), r"centers=\[0\]: none; allowed: at least one"),
    "shorter line": (lambda: curves.thin(np.arange(4), np.arange(3), 2), r"y=\(3,\): wrong shape beside x \(4,\)"),
    "floats under boxes": (lambda: boxes_on(PIXELS.astype(float)), "image=float64: no bytes; allowed: uint8"),
    "gray under boxes": (lambda: boxes_on(PIXELS[..., 0]), "image=.*: wrong shape"),
    "box of 3 numbers": (lambda: boxes_on(boxes=BOXES[:, :3]), r"boxes=.*\[1, 3\]: wrong shape"),
    "box": (lambda: boxes_on(boxes=NAN * BOXES), r"boxes\[0, 0\]=nan: not finite"),
    "label from the end": (lambda: boxes_on(labels=(-1,)), r"labels\[0\]=-1: out of range; allowed: 0 to 1"),
    "score": (lambda: boxes_on(scores=np.array([50.0])), r"scores\[0\]=50: out of range; allowed: 0 to 1"),
    "enlargement": (lambda: boxes_on(scale=1.5), "scale=1.5: no whole number"),
    "outline": (lambda: detection.outline(MAP), r"mask=int64\[4, 4\]: no mask; allowed: bool \[H, W\]"),
    "number of detections": (lambda: detection.detections(IMAGES, {}, None, NAMES, 0), "count=0: out of range"),
    "least score": (
        lambda: detection.draw_outputs(PIXELS, {"boxes": BOXES}, NAMES, NAN),
        "min_score=nan: out of range",
    ),
    "precision": (lambda: detection.precision_recall(np.full((3, 2), 90.0), NAMES), "precision.*=90: out of range"),
    "kinds": (lambda: detection.error_kinds(np.ones((2, 3)), NAMES, NAMES), r"counts=.*\[2, 3\]: wrong shape"),
    "classes of an episode": (
        lambda: few_shot.episode(None, np.ones((1, 2, 1, 4, 4, 3)), SURE, 0),
        "classes=0: out of",
    ),
    "color": (lambda: figure.rgb("blue"), "color='blue': no color; allowed: '#rrggbb'"),
    "size of a figure": (lambda: figure.new_figure((4,)), r"size=.*\[1\]: wrong shape"),
    "no values": (lambda: figure.seed_dots(axes(), {"a": []}), r"groups=\[0\] values: none"),
    "unpaired values": (
        lambda: figure.seed_dots(axes(), {"a": [1, 2], "b": [1]}, pairs=True),
        r"groups=\[2, 1\] values",
    ),
    "positions": (lambda: figure.mean_and_range(axes(), [1], SURE, "#000000"), r"rows=.*\[2, 2\]: wrong shape"),
    "distance": (lambda: figure.seed_lines(axes(), SURE, "#000000", step=0), "step=0: out of range"),
    "resolution": (lambda: figure.figure_png(Figure(), NAN), "dpi=nan: out of range"),
    "width of a figure": (lambda: figure.figure_panel("a", b"", width=0), "width=0: out of range"),
    "duration": (lambda: film.film([PIXELS], "a", milliseconds=0), "milliseconds=0: out of range"),
    "no frames": (lambda: film.film([], "a"), "frames=0: none"),
    "floats of a film": (lambda: film.film_webp([IMAGES[0]]), r"frames=float64\[4, 4, 3\]: no pictures"),
    "tiles": (lambda: filters.filter_grid(np.ones((3, 3, 1, 1)), 0), "max_tiles=0: too small"),
    "kernel": (lambda: filters.filters(np.full((3, 3, 1, 1), NAN)), r"kernel\[0, 0, 0, 0\]=nan: not finite"),
    "wheel": (lambda: flow.color_wheel(0), "size=0: too small; allowed: at least 1"),
    "flow of another size": (
        lambda: flow.flow_panel([PIXELS], [np.zeros((2, 2, 2))], "a"),
        r"flows: \(2, 2, 2\) for a",
    ),
    "columns": (lambda: generative.picture_grid(IMAGES, 1.5), "columns=1.5: no whole number"),
    "gap": (lambda: generative.picture_grid(IMAGES, 1, -1), "gap=-1: out of range; allowed: at least 0"),
    "picture": (lambda: generative.save_picture("x.png", IMAGES[0]), r"picture=float64\[4, 4, 3\]: no picture"),
    "rows of samples": (lambda: generative.sample_rows({"a": IMAGES[0]}, "b"), r"rows: a is \(4, 4, 3\)"),
    "nearest of none": (lambda: generative.nearest_images(IMAGES, IMAGES[:0]), r"among=\(0, 4, 4, 3\): for images"),
    "nearest to NaN": (
        lambda: generative.nearest_images(NAN * IMAGES, IMAGES),
        r"images\[0, 0, 0, 0\]=nan: not finite",
    ),
    "limits": (lambda: gridworld.draw_grid(axes(), SURE, limits=(1, 0)), r"limits=\(1, 0\): no limits"),
    "policy": (lambda: gridworld.draw_grid(axes(), SURE, SURE), "policy=.*: wrong shape"),
    "bytes": (lambda: memory.memory_panel({"batch": -1}, ()), "batch=-1: no count"),
    "segment": (lambda: panoptic.draw_segments(PIXELS, MAP + 1, LABELS[:1], 1), r"segments\[0, 0\]=1: out of range"),
    "stuff": (lambda: panoptic.semantic_of(MAP, -1), "num_stuff=-1: too small"),
    "captions": (lambda: panoptic.panoptic_images(IMAGES, {}, ["a"], 1), "captions=1 entries: for 2 images"),
    "more stuff than names": (
        lambda: panoptic.quality_table({}, NAMES, 3),
        "num_stuff=3: out of range; allowed: 0 to 2",
    ),
    "floats of an image": (lambda: pictures.data_uri(IMAGES[0]), r"image=float64\[4, 4, 3\]: no picture"),
    "enlargement of an image": (lambda: pictures.data_uri(PIXELS, 0), "scale=0: too small"),
    "number of examples": (lambda: pictures.examples(IMAGES, count=0), "count=0: too small"),
    "no image": (lambda: pictures.strip(IMAGES[:0]), r"images=\[0\]: none; allowed: at least one"),
    "height of a strip": (lambda: pictures.strip(IMAGES, height=0), "height=0: too small"),
    "class of a pixel": (lambda: segmentation.color_classes(MAP - 1, COLORS), r"classes\[0, 0\]=-1: out of range"),
    "opacity": (lambda: segmentation.overlay(PIXELS, MAP, COLORS, 2.0), "opacity=2: out of range; allowed: 0 to 1"),
    "predicted class": (lambda: segmentation.image_iou(MAP[None] + 2, MAP[None], 2), r"classes\[0\]=2: out of range"),
    "worst images": (
        lambda: segmentation.segmentations(IMAGES, [MAP] * 2, [MAP] * 2, NAMES, num_worst=-1),
        "num_worst=-1: too small",
    ),
    "names of a table": (lambda: segmentation.class_table([1], [1], [[1]], NAMES, 1.0, {}), "iou=.*: wrong shape"),
    "queries": (lambda: self_supervised.nearest_neighbors(IMAGES, LABELS, SURE, NAMES, 0), "num_queries=0: too small"),
    "feature": (
        lambda: self_supervised.nearest_neighbors(IMAGES, LABELS, NAN * SURE, NAMES),
        r"features\[0, 0\]=nan: not finite",
    ),
    "cluster": (
        lambda: self_supervised.cluster_sheets(IMAGES, LABELS - 1, LABELS, NAMES),
        r"clusters\[0\]=-1: no count",
    ),
    "prediction": (
        lambda: self_supervised.task_sheet(IMAGES[:, None], LABELS, LABELS + 1, NAMES),
        r"predictions\[1\]=2: out of range; allowed: 0 to 1",
    ),
    "patches": (
        lambda: self_supervised.attention_maps(IMAGES, np.ones((2, 1, 3, 3))),
        r"weights=\(2, 1, 3, 3\): do not tile",
    ),
    "plane of one number": (
        lambda: self_supervised.feature_plane(SURE[:, :1], LABELS, NAMES),
        r"features=\(2, 1\): no",
    ),
    "one domain": (
        lambda: self_supervised.domain_plane(SURE, SURE, ("a",)),
        r"names=\('a',\), first=\(2, 2\): no plane",
    ),
    "rows of pseudo-labels": (lambda: semi_supervised.pseudo_label_table([], 0), "count=0: too small"),
    "temperature": (lambda: sequence.text_samples(["a"], ["b"], [-1.0]), "temperatures=-1: out of range"),
    "fewer weights": (
        lambda: sequence.alignments([SURE], [["a"] * 3], [["b"]]),
        r"weights: \(2, 2\) for 1 and 3 tokens",
    ),
    "face": (
        lambda: shapes.render_mesh(POINTS, np.array([[0, 1, 3]])),
        r"faces\[0, 2\]=3: out of range; allowed: 0 to 2",
    ),
    "vertical axis": (lambda: shapes.render_points(POINTS, up="w"), "up='w': unknown; allowed: x, y, z"),
    "side of a rendering": (lambda: shapes.two_views(POINTS, size=0), "size=0: too small"),
    "view": (lambda: shapes.render_points(POINTS, (1.0,)), r"view=.*\[1\]: wrong shape"),
    "what is shown": (lambda: shapes.render_points(POINTS, extent=(np.zeros(3), 0)), "half_side=0: out of range"),
    "no rendering": (lambda: shapes.shape_panel([], [], "a"), "images=0: none"),
    "rate": (lambda: sound.wav_bytes(WAVES[0], 0.5), "sample_rate=0.5: no whole number"),
    "sound": (lambda: sound.sound_panel(NAN + WAVES, NAMES, 8), r"waveforms\[0, 0\]=nan: not finite"),
    "frequencies": (lambda: sound.spectrum_panel(WAVES, NAMES, [1], 8), r"frequencies=.*\[1\]: wrong shape"),
    "frames of a strip": (
        lambda: tracking.film_strip(PIXELS[None], BOXES[None], np.zeros((1, 1), int), 0.5),
        "count=0.5: no whole number",
    ),
    "attention": (lambda: vision_language.attention_overlay(PIXELS, -SURE), r"weight\[0, 0\]=-0.5: no mask"),
}


@pytest.mark.parametrize(("call", "message"), CASES.values(), ids=CASES)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
