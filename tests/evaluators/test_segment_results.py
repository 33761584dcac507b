"""Segments by hand: descriptions, files in COCO's form, and what the report's panels get."""

import json
import types

import numpy as np
import pytest
from PIL import Image

from dlcore.data.facts import Facts
from dlcore.evaluators import segment_results

SPEC = {"stuff_names": ["sky"], "class_names": ["cat", "dog"]}
FACTS = Facts.of(SPEC)
OUTPUTS = {
    "segments": np.array([[[0, 0, 0, 2], [-1, 2, 2, 2]], [[-1] * 4] * 2]),
    "segment_labels": np.array([[0, 9, 2], [0, 0, 0]]),
}


def test_segments_are_described_the_largest_first():
    first, second = segment_results.FindSegments().describe(OUTPUTS, FACTS)
    assert first["segments"] == [{"class": "dog", "share": 0.5}, {"class": "sky", "share": 0.375}]
    assert first["text"] == "dog 50.0 %  sky 37.5 %"
    assert second == {"segments": [], "text": "nothing"}


def test_files_have_the_size_and_the_numbers_of_coco(tmp_path):
    """The 2 x 4 segments on an image of 4 x 8: all areas are four times as large."""
    Image.fromarray(np.full((4, 8, 3), 200, np.uint8)).save(tmp_path / "a.png")
    outputs = {name: array[:1] for name, array in OUTPUTS.items()}
    paths = segment_results.FindSegments().write(tmp_path / "out", outputs, None, [str(tmp_path / "a.png")], FACTS)
    assert [path.name for path in paths] == ["a_panoptic.png", "a_overlay.png", "panoptic.json"]
    encoded = np.asarray(Image.open(paths[0])).astype(int)
    number = encoded[..., 0] + 256 * encoded[..., 1] + 65536 * encoded[..., 2]
    np.testing.assert_array_equal(number[::2, ::2], [[1, 1, 1, 3], [0, 3, 3, 3]])
    content = json.loads(paths[2].read_text())
    assert content["categories"] == [
        {"id": 1, "name": "sky", "isthing": 0},
        {"id": 2, "name": "cat", "isthing": 1},
        {"id": 3, "name": "dog", "isthing": 1},
    ]
    assert content["images"] == [{"id": 1, "file_name": "a.png", "width": 8, "height": 4}]
    (annotation,) = content["annotations"]
    assert (annotation["image_id"], annotation["file_name"]) == (1, "a_panoptic.png")
    assert annotation["segments_info"] == [
        {"id": 1, "category_id": 1, "area": 12, "bbox": [0, 0, 6, 2], "iscrowd": 0},
        {"id": 3, "category_id": 3, "area": 16, "bbox": [2, 0, 6, 4], "iscrowd": 0},
    ]


def test_numbers_beyond_a_byte_take_the_next_color(tmp_path):
    Image.fromarray(np.zeros((1, 2, 3), np.uint8)).save(tmp_path / "a.png")
    outputs = {"segments": np.array([[[299, 70000]]]), "segment_labels": np.ones((1, 70001), int)}
    paths = segment_results.FindSegments().write(tmp_path, outputs, None, [str(tmp_path / "a.png")], FACTS)
    # 300 = 44 + 256 and 70001 = 113 + 256 * 17 + 65536.
    assert np.asarray(Image.open(paths[0]))[0].tolist() == [[44, 1, 0], [113, 17, 1]]


def test_the_worst_images_are_shown(monkeypatch, bare_panels):
    calls = []
    real = np.arange(3) + 10, np.arange(3) + 20
    monkeypatch.setattr(segment_results, "_truth", lambda *rest: (real, np.array([1, 0, 5])))
    monkeypatch.setattr(segment_results, "SHOWN", 2)
    monkeypatch.setattr("dlcore.report.panoptic.panoptic_images", lambda *rest: calls.append(rest) or "images")
    monkeypatch.setattr("dlcore.report.panoptic.quality_table", lambda *rest: calls.append(rest) or "table")
    monkeypatch.setattr("dlcore.report.panoptic.semantic_of", lambda classes, num_stuff: (classes, num_stuff))
    outputs = {"segments": np.arange(3), "segment_labels": np.arange(3) + 3, "classes": np.arange(3) + 6}
    context = types.SimpleNamespace(
        spec=SPEC,
        outputs=outputs,
        numbers="numbers",
        data=types.SimpleNamespace(test=types.SimpleNamespace(arrays={"image": np.arange(3) + 30})),
        history=[{"step": 1, "loss/by_class": 2}, {}, {"step": 2}],
    )
    assert segment_results.panels(context) == ["images", "table", [{"step": 1}, {"step": 2}]]
    images, columns, captions, num_stuff = calls[0]
    assert (images.tolist(), captions, num_stuff) == ([32, 30], ["5 wrong or missed", "1 wrong or missed"], 1)
    assert columns == {"panoptic": [(2, 5), (0, 3)], "semantic": [(8, 1), (6, 1)], "true": [(12, 22), (10, 20)]}
    assert calls[1] == ("numbers", ["sky", "cat", "dog"], 1)


def test_the_first_four_stand_side_by_side(monkeypatch):
    draw = lambda image, segments, labels, num_stuff: image + segments + labels + num_stuff  # noqa: E731
    monkeypatch.setattr("dlcore.report.panoptic.draw_segments", draw)
    image = 100.0 * np.arange(5)[:, None, None, None] * np.ones((5, 2, 3, 3))
    context = types.SimpleNamespace(
        spec=SPEC,
        outputs={"segments": np.arange(5), "segment_labels": 10 * np.arange(5)},
        data=types.SimpleNamespace(test=types.SimpleNamespace(arrays={"image": image})),
    )
    picture = segment_results.pictures(context)["panoptic"]
    assert picture.shape == (2, 12, 3)
    np.testing.assert_array_equal(picture[0, ::3, 0], [1, 112, 223, 334])


@pytest.mark.parametrize("prediction", ["right", "wrong"])
def test_errors_are_segments_that_are_wrong_or_missed(prediction, monkeypatch):
    from dlcore.data.masks import pack_masks

    monkeypatch.setattr("jax.jit", lambda function, **rest: function)
    monkeypatch.setattr(
        "dlcore.segmentation.panoptic.target_segments",
        lambda masks, labels, valid, semantic, num_stuff: (np.where(masks[0], 0, -1), np.array([1 + num_stuff])),
    )

    def count(segments, labels, targets, target_labels, num_classes):
        assert segments.shape == targets.shape == (1, 2, 3)
        assert num_classes == 3
        differ = (segments != targets).sum()
        return types.SimpleNamespace(wrong=np.array([differ, 0]), missed=np.array([0, 2 * differ]))

    monkeypatch.setattr("dlcore.metrics.panoptic.PanopticQuality.of", count)
    masks = np.zeros((1, 1, 2, 3), bool)
    masks[0, 0, 0, 1] = True
    test = {
        "image": np.zeros((1, 2, 3, 3)),
        "masks": pack_masks(masks),
        "labels": [0],
        "box_mask": [0],
        "semantic": [0],
    }
    segments = np.where(masks[0, :1], 0, -1) if prediction == "right" else np.full((1, 2, 3), -1)
    real, errors = segment_results._truth(test, {"segments": segments, "segment_labels": np.array([[2]])}, 1, 3)
    np.testing.assert_array_equal(real[0], np.where(masks[:, 0], 0, -1))
    assert (real[1].tolist(), errors.tolist()) == ([[2]], [0 if prediction == "right" else 3])
