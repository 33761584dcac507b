"""Prompts of the command line in pixels of photographs, what is refused, and masks as pictures and run lengths."""

import json
import types

import numpy as np
import pytest
from PIL import Image

from dlcore.data.facts import Facts
from dlcore.data.masks import pack_masks, rle_to_mask
from dlcore.data.source import Source
from dlcore.experiment.resolve import resolve
from dlcore.modes.predict import MODE
from dlcore.segmentation import prompt_results
from dlcore.segmentation import prompted_scenes as prompted_scenes_parts
from dlcore.segmentation.prompted_scenes import baseline_iou, prompted_scenes
from experiments.segmentation.promptable import experiment
from tests.overriding import inputs_of

SPEC = {"image_shape": [32, 32, 3]}


@pytest.fixture
def photograph(tmp_path):
    """A photograph of 64 pixels by 16."""
    path = tmp_path / "photograph.png"
    Image.fromarray(np.full((16, 64, 3), 90, np.uint8)).save(path)
    return path


def inputs(photograph, *words):
    flags = resolve(experiment, [f"--input={photograph}", *words], MODE.settings)
    return inputs_of(experiment, flags, SPEC)


@pytest.mark.covers("SG-17")
def test_prompts_are_scaled_to_the_networks_image(photograph):
    """By 1/2 along x and by 2 along y; the middle of pixel (10, 3) is at (10.5, 3.5), so it goes to (5.25, 7)."""
    source, names = inputs(photograph, "--points=10,3,1,63,15,0", "--boxes=4,2,32,16")
    assert names == [str(photograph)]
    arrays = source.arrays
    np.testing.assert_allclose(arrays["points"], [[[[4.75, 6.5], [31.25, 30.5]]]])
    assert arrays["labels"].tolist() == [[[1, 0]]]
    np.testing.assert_allclose(arrays["boxes"], [[[2, 4, 16, 32]]])
    assert arrays["original_size"].tolist() == [[16, 64]]
    # Without prompts everything is segmented; two boxes are two objects.
    assert set(inputs(photograph)[0].arrays) == {"image", "original_size"}
    assert inputs(photograph, "--boxes=0,0,9,9,9,9,20,15")[0].arrays["boxes"].shape == (1, 2, 4)


def test_a_prompt_is_scaled_for_each_photograph(photograph):
    """The second one has 32 pixels by 128: x stays, y becomes a quarter, and the middle of (10, 3) is (10.5, 0.875)."""
    Image.fromarray(np.zeros((128, 32, 3), np.uint8)).save(photograph.with_name("second.png"))
    arrays = inputs(photograph.parent, "--points=10,3,1", "--boxes=4,2,32,16")[0].arrays
    assert arrays["original_size"].tolist() == [[16, 64], [128, 32]]
    np.testing.assert_allclose(arrays["points"][:, 0, 0], [[4.75, 6.5], [10, 0.375]])
    assert arrays["labels"].tolist() == [[[1]], [[1]]]
    np.testing.assert_allclose(arrays["boxes"][:, 0], [[2, 4, 16, 32], [4, 0.5, 32, 4]])


@pytest.mark.covers("SG-17")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--points=64,3,1"], r"points=\[64.0, 3.0\]: outside the photograph; allowed: x from 0 to 63, y from 0 to 15"),
        (["--points=10,-1,1"], r"points=\[10.0, -1.0\]: outside the photograph; allowed: x from 0 to 63, y from 0"),
        (["--points=10,3"], r"points=10,3: 2 numbers; allowed: x,y,1 for a point on the object"),
        (["--points=10,3,2"], r"points: label 2 is unknown; allowed: 1 on the object, 0 beside it"),
        (["--boxes=9,2,9,8"], r"boxes=\[9.0, 2.0, 9.0, 8.0\]: no box; allowed: x1 < x2 and y1 < y2"),
        (["--boxes=9,2,70,8"], r"boxes=\[9, 2, 70, 8\]: no box of the photograph; allowed: x1 < x2 from 0 to 64, y1"),
        (["--boxes=1,2,3"], r"boxes=1,2,3: 3 numbers; allowed: x1,y1,x2,y2 of each object"),
        (["--points=1,1,1", "--boxes=0,0,5,5,6,6,9,9"], r"boxes: 2 beside points; allowed: one, around the object"),
    ],
)
def test_bad_prompts_are_refused_in_one_line(photograph, words, message):
    with pytest.raises(ValueError, match=message) as error:
        inputs(photograph, *words)
    assert "\n" not in str(error.value)


@pytest.mark.covers("SG-17")
def test_a_rough_mask_has_the_photographs_size(photograph, tmp_path):
    mask = tmp_path / "mask.png"
    Image.fromarray(np.tile(np.uint8([1] * 32 + [0] * 32), (16, 1))).save(mask)
    (rough,) = inputs(photograph, f"--mask_prompt={mask}")[0].arrays["mask_prompt"]
    # The decoder's masks have 32 rows; the left half is on the object.
    assert rough.shape == (32, 32, 1)
    np.testing.assert_allclose(rough[:, :16], 6)
    np.testing.assert_allclose(rough[:, 16:], -6)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(mask)
    with pytest.raises(ValueError, match=r"mask.png: 8 x 8 pixels; allowed: those of the photograph, 64 x 16"):
        inputs(photograph, f"--mask_prompt={mask}")
    Image.fromarray(np.zeros((16, 64), np.uint8)).save(mask)
    with pytest.raises(ValueError, match=r"mask.png: all black; allowed: another color on the object"):
        inputs(photograph, f"--mask_prompt={mask}")
    Image.fromarray(np.full((16, 64), 255, np.uint8)).save(tmp_path / "mask.jpg")
    with pytest.raises(ValueError, match=r"mask.jpg: JPEG, whose black is not 0; allowed: PNG, or another"):
        inputs(photograph, f"--mask_prompt={tmp_path / 'mask.jpg'}")


@pytest.mark.covers("SG-17")
def test_masks_are_written_at_the_photographs_size(photograph, tmp_path):
    """Two of four masks are valid: the second quarter of the columns, and the lower half."""
    logits = np.full((1, 4, 8, 8), -5.0, np.float32)
    logits[0, 2, :, 2:4] = logits[0, 3, 4:] = 5
    outputs = {
        "mask_logits": logits,
        "iou": np.array([[0.5, 0.5, 0.123456, 0.5]]),
        "stability": np.array([[0.5, 0.5, 0.654321, 1.0]]),
        "valid": np.array([[False, False, True, True]]),
        "original_size": np.array([[16, 64]]),
    }
    expected = np.zeros((16, 64), bool)
    expected[:, 16:32] = True
    use = prompt_results.SegmentByPrompts()
    (row,) = use.describe(outputs, Facts())
    assert row["text"].splitlines() == [
        "2 masks in 64 x 16 pixels",
        "  IoU 0.12  stability 0.65  256 pixels",
        "  IoU 0.50  stability 1.00  512 pixels",
    ]
    mask, _ = row["masks"]
    np.testing.assert_array_equal(rle_to_mask(mask["segmentation"]), expected)
    assert mask["box_xyxy"] == [16, 0, 32, 16]
    assert (mask["predicted_iou"], mask["stability"], row["image_size"]) == (0.1235, 0.6543, [16, 64])
    only = outputs | {"valid": np.array([[True, False, False, False]])}
    assert use.describe(only, Facts())[0]["text"].startswith("1 mask in 64 x 16 pixels\n")
    files = use.write(tmp_path / "out", outputs, None, [str(photograph)], Facts())
    names = [f"photograph_{kind}.png" for kind in ("mask1", "mask2", "overlay")]
    assert [path.name for path in files] == [*names, "masks.json"]
    np.testing.assert_array_equal(np.asarray(Image.open(files[0])), 255 * expected)
    content = json.loads(files[-1].read_text())
    assert content["images"] == [{"id": 1, "file_name": "photograph.png", "width": 64, "height": 16}]
    assert content["categories"] == [{"id": 1, "name": "object"}]
    annotation, other = content["annotations"]
    np.testing.assert_array_equal(rle_to_mask(annotation.pop("segmentation")), expected)
    assert annotation == {
        "id": 1, "image_id": 1, "category_id": 1, "bbox": [16, 0, 16, 16], "iscrowd": 0, "score": 0.1235,
        "area": 256, "stability": 0.6543,
    }  # fmt: skip
    assert (other["id"], other["bbox"]) == (2, [0, 8, 64, 8])


def test_small_masks_are_drawn_over_large_ones_in_colors_of_their_own(monkeypatch):
    """Mask 0 has five pixels, mask 1 three of them, and mask 21 one: of 20 colors it has that of mask 1."""
    monkeypatch.setattr("dlcore.report.segmentation.overlay", lambda image, numbers, colors: (numbers, colors))
    monkeypatch.setattr("dlcore.report.segmentation.palette", lambda names: names)
    masks = np.zeros((22, 1, 6), bool)
    masks[0], masks[1, :, :3], masks[21, :, 4] = True, True, True
    masks[0, :, 5] = False
    numbers, colors = prompt_results.draw_masks(np.zeros((1, 6, 3)), masks)
    assert numbers.tolist() == [[2, 2, 2, 1, 2, 255]]
    assert colors == [str(k) for k in range(21)]


def test_patches_that_do_not_cover_the_image_are_refused():
    with pytest.raises(ValueError, match=r"image_size=33: patches do not cover it; allowed: multiples of encoder.patc"):
        experiment.run(resolve(experiment, ["--image_size=33"])).check()


@pytest.mark.slow
@pytest.mark.covers("SG-18")
def test_thresholds_are_measured_by_the_same_clicks():
    """Shapes with a core of another color: a distance of colors finds them by five clicks, brightness does not."""
    baselines = baseline_iou(*(prompted_scenes(40, seed, 32) for seed in (0, 1)))
    assert all(len(values) == 5 for values in baselines.values())
    assert baselines["color"][4] > 0.8
    assert baselines["color"][4] > baselines["color"][0] + 0.1
    assert max(baselines["brightness"]) < 0.4


def test_thresholds_are_chosen_by_the_first_click_and_clicks_are_counted(monkeypatch):
    """Objects of brightness 100 on black: the color's threshold 70 is the first below which nothing black lies.

    A stand-in of clicks gives the IoU after the first, and then what is missing and k / 30,000, rounded to 4 digits.
    Of 61 scenes to train with, 60 choose the threshold.
    """
    chosen, objects = [], prompted_scenes_parts._objects

    def recorded_objects(*rest):
        images, object_masks, thresholds = objects(*rest)
        chosen.append((len(images), float(thresholds[0])))
        return images, object_masks, thresholds

    monkeypatch.setattr(prompted_scenes_parts, "_objects", recorded_objects)

    def simulate_clicks(segment, targets, count):
        _, _, iou = segment(None, None, 0)
        return [iou, *(1 - iou + k / 30_000 for k in range(1, count))]

    def brighter(images, points, labels, threshold):
        return images[..., 0] > threshold[:, None, None]

    def above_70(images, points, labels, threshold):
        return (images[..., 0] > 50) & (threshold == 70)[:, None, None]

    def mask_iou(masks, targets):
        return (masks & targets).sum((1, 2)) / (masks | targets).sum((1, 2))

    clicks = "dlcore.segmentation.clicks."
    for name, function in (("simulate_clicks", simulate_clicks), ("mask_iou", mask_iou), ("color_masks", above_70)):
        monkeypatch.setattr(clicks + name, function)
    monkeypatch.setattr(clicks + "brightness_masks", brighter)
    monkeypatch.setattr("dlcore.classical_vision.otsu.otsu_threshold", lambda gray: gray.max() - 60.0)
    masks = np.zeros((1, 1, 8, 8), bool)
    masks[0, 0, :4] = True
    image = np.where(masks[0, 0], 100, 0)[None, ..., None].repeat(3, -1).astype(np.uint8)
    image[0, 4, :, 0] = 45  # above Otsu's 40, below 50: a row too many, so that the IoU is 4/5
    image[0, 4, :, 1:] = 45
    scene = Source({"image": image, "masks": pack_masks(masks), "box_mask": np.ones((1, 1), bool)})
    many = Source({name: np.repeat(values, 61, 0) for name, values in scene.arrays.items()})
    assert baseline_iou(many, scene) == {
        "brightness": [0.8, 0.2, 0.2001, 0.2001, 0.2001],
        "color": [1.0, 0.0, 0.0001, 0.0001, 0.0001],
    }
    assert chosen == [*((60, threshold) for threshold in (25, 35, 50, 70, 100)), (1, 40), (1, 70)]


def test_masks_of_everything_stand_beside_their_scenes_and_above_the_thresholds(monkeypatch, bare_panels):
    monkeypatch.setattr("dlcore.report.pictures.captioned_images", lambda pictures, captions: (pictures, captions))
    monkeypatch.setattr(
        "dlcore.report.tables.table", lambda *rest: types.SimpleNamespace(_replace=lambda half: (*rest, half))
    )
    logits = np.full((2, 2, 2, 4), -5.0, np.float32)
    logits[0, 1, :, :2] = 5
    context = types.SimpleNamespace(
        data=types.SimpleNamespace(shown=Source({"image": np.full((2, 2, 4, 3), 90, np.uint8)})),
        spec={"baselines": {"brightness": [0.1, 0.2, 0.3], "color": [0.4, 0.5, 0.6]}},
        outputs={"mask_logits": logits, "valid": np.array([[True, True], [False, True]])},
        numbers={"iou_1": 0.71234, "iou_3": 0.75},
        history="history",
    )
    everything, (rows, title, _, half), triage, curves = prompt_results.panels(context)
    pictures, captions = everything.html
    assert (everything.title, captions) == ("Everything", ["2 masks", "1 masks"])
    assert pictures.shape == (2, 2, 8, 3)
    assert (pictures[:, :, :4] == 90).all()
    inside, outside = pictures[0, :, 4:6], pictures[0, :, 6:]
    assert (np.ptp(inside, -1) > 0).all(), "colored"
    assert (np.ptp(outside, -1) == 0).all(), "gray"
    assert rows == [
        {"clicks": 1, "SAM": 0.712, "brightness": 0.1, "color": 0.4},
        {"clicks": 3, "SAM": 0.75, "brightness": 0.3, "color": 0.6},
    ]
    assert (title, half, triage, curves) == ("IoU after clicks", True, ("history", 0.0), "history")
