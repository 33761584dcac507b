"""Data that programs draw: how many examples each split has, by which seed, of which size, and their baselines."""

import dataclasses
import importlib
import re
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data import box_images, captioned_shapes
from dlcore.data.facts import Facts
from dlcore.data.masks import pack_masks, unpack_masks
from dlcore.data.source import Source
from dlcore.evaluators import image_generation
from dlcore.experiment.resolve import resolve
from dlcore.report import scan_results
from dlcore.segmentation import prompted_scenes, scans
from experiments.generative import text_to_image, vae
from experiments.segmentation import promptable
from experiments.segmentation import volumes as volumes_page
from tests.overriding import samples_of

SPEC = {"image_shape": [32, 32, 3], "mean": [0.5] * 3, "std": [0.25] * 3}


def recorded(calls, result):
    """Make a stand-in that adds its arguments to `calls` and returns `result`, or what `result` as a function gives."""

    def draw(*args, **settings):
        calls.append((args, settings))
        return result(*args, **settings) if callable(result) else result

    return draw


@pytest.mark.parametrize(("num_scenes", "few"), [(240, (24, 40)), (30, (8, 8))])
def test_scenes_of_boxes_have_a_tenth_to_validate_and_a_sixth_to_test_but_eight_at_least(monkeypatch, num_scenes, few):
    """Shapes have at most half of the side, and there are at most six of them."""
    calls, arrays = [], {"image": np.zeros((1, 4, 4, 3), np.uint8), "boxes": np.zeros((1, 6, 4), np.float32)}
    drawn = Source(arrays, class_names=("a",), name="scenes (train)")
    monkeypatch.setattr(importlib.import_module("dlcore.data.scenes"), "scenes", recorded(calls, drawn))
    images = box_images.BoxImages(image_size=(48, 48), num_scenes=num_scenes, masks=True)
    splits = images.load()
    assert splits[:3] == (drawn, drawn, drawn)
    assert (splits.spec["image_shape"], splits.spec["max_boxes"], splits.spec["dataset"]) == ([4, 4, 3], 6, "scenes")
    assert [args for args, _ in calls] == [(num_scenes, 0), (few[0], 1), (few[1], 2)]
    loaded = {"masks": True, "keypoints": False, "stuff": False}
    assert [settings for _, settings in calls] == [{"size": 48, "max_boxes": 6, "largest": 24, **loaded}] * 3
    dataclasses.replace(images, max_boxes=4).load()
    assert calls[-1][1]["max_boxes"] == 4


def test_prompted_scenes_have_the_same_shares_and_say_their_baselines(monkeypatch):
    calls = []
    image = np.zeros((14, 32, 32, 3), np.uint8)
    image[:7] = 255
    monkeypatch.setattr(prompted_scenes, "prompted_scenes", recorded(calls, lambda *args: Source({"image": image})))
    monkeypatch.setattr(prompted_scenes, "baseline_iou", lambda train, test: {"color": [0.125, 0.5]})
    splits = promptable.experiment.run(resolve(promptable.experiment, ["--num_scenes=240"])).load()
    assert [args for args, _ in calls] == [(240, 0, 32), (24, 1, 32), (40, 2, 32)]
    assert splits.notes == ("IoU after 1 to 5 clicks on the test split by thresholds: color 0.125 0.500",)
    assert splits.spec["baselines"] == {"color": [0.125, 0.5]}
    assert splits.spec["image_shape"] == [32, 32, 3]
    np.testing.assert_allclose([splits.spec["mean"], splits.spec["std"]], 0.5, rtol=1e-6)
    assert len(splits.shown) == 12
    promptable.experiment.run(resolve(promptable.experiment, ["--num_scenes=30"])).load()
    assert [args[0] for args, _ in calls[3:]] == [30, 8, 8]


def test_sam_is_built_for_the_side_of_the_scenes_and_flips_on_request():
    def build(*words):
        flags = resolve(promptable.experiment, ["--smoke", *words])
        return promptable.experiment.run(flags, SPEC, 10, jnp.bfloat16).arguments()

    given = build()
    model = given["model"].model
    assert (model.encoder.image_size, model.encoder.pretrain_size) == (32, 32)
    assert (model.dtype, model.encoder.dtype) == (jnp.bfloat16, jnp.bfloat16)
    np.testing.assert_allclose(given["preprocess"](jnp.full((1, 32, 32, 3), 0.75)), 1, rtol=1e-2)
    assert given["augment"] is not None
    assert build("--flip=false")["augment"] is None


def prompted(monkeypatch, image, masks):
    """Return the arrays of one prompted scene with this image and these masks, and the call that drew it."""
    calls = []
    drawn = SimpleNamespace(arrays={"image": image[None], "masks": pack_masks(masks)[None]})
    monkeypatch.setattr(importlib.import_module("dlcore.data.scenes"), "scenes", recorded(calls, drawn))
    arrays = prompted_scenes.prompted_scenes(1, 7, 32).arrays
    (call,) = calls
    return arrays["image"][0], unpack_masks(arrays["masks"], 32)[0], arrays["box_mask"][0].tolist(), call


def test_a_core_is_what_is_deeper_than_half_and_has_another_color(monkeypatch):
    """A square of 9 has depths 1 to 5: the inner 5 by 5 pixels, which are deeper than 2.5, are its core.

    A bar of 3 by 13 has depths 1 and 2, and the eleven pixels deeper than 1 are fewer than the twelve of a core, which
    a rectangle of 5 by 6 has.
    """
    masks = np.zeros((3, 32, 32), bool)
    masks[0, 2:11, 3:12] = masks[1, 20:23, 15:28] = masks[2, 26:31, 2:8] = True
    image = np.full((32, 32, 3), 100, np.uint8)
    image[..., 2] = 200  # bright channels get darker, dark ones brighter
    image, found, is_object, _ = prompted(monkeypatch, image, masks)
    cores = np.zeros_like(masks)
    cores[0, 4:9, 5:10] = cores[2, 27:30, 3:7] = True
    np.testing.assert_array_equal(found, [*masks, *cores])
    assert is_object == [True, True, True, True, False, True]
    assert (image[~cores.any(0)] == [100, 100, 200]).all()
    shifts = np.random.default_rng((7, 0, 1)).uniform(60, 110, (3, 3))
    for core, shift in zip(cores, shifts, strict=True):
        assert (image[core] == ([100, 100, 200] + shift * [1, 1, -1]).astype(np.uint8)).all()


def test_prompted_scenes_hold_visible_objects_and_then_their_cores(monkeypatch):
    """Shapes have a third to a half of the side; the first object is hidden behind the second."""
    masks = np.zeros((2, 32, 32), bool)
    masks[0, 4:8, 4:8] = masks[1, 2:14, 2:14] = True
    image, found, is_object, call = prompted(monkeypatch, np.zeros((32, 32, 3), np.uint8), masks)
    assert call == ((1, 7), {"size": 32, "smallest": 10, "largest": 16, "masks": True})
    assert is_object == [False, True, False, True]
    np.testing.assert_array_equal(found[1], masks[1])
    assert found[3].sum() == 36  # of 12 by 12, of depths up to 6: deeper than 3 are the inner 6 by 6
    assert (image.any(-1) == found[3]).all()


def test_objects_of_scenes_carry_their_image_and_its_threshold():
    masks = np.zeros((2, 3, 2, 3), bool)
    masks[0, 1, 0, 2] = masks[1, 0, 1, 0] = masks[1, 2, 1, 1] = True
    source = Source(
        {
            "image": np.array([10, 20], np.uint8)[:, None, None, None] * np.ones((2, 2, 3, 1), np.uint8),
            "masks": pack_masks(masks),
            "box_mask": masks.any((-2, -1)),
        }
    )
    images, objects, thresholds = prompted_scenes._objects(source, lambda image: image.mean() + 1)
    assert images[:, 0, 0, 0].tolist() == [10, 20, 20]
    np.testing.assert_array_equal(objects, [masks[0, 1], masks[1, 0], masks[1, 2]])
    assert thresholds.tolist() == [11, 21, 21]


@pytest.mark.parametrize(("num_images", "few"), [(800, (40, 100)), (16, (8, 8))])
def test_captions_have_a_twentieth_to_validate_and_an_eighth_to_test_but_eight_at_least(monkeypatch, num_images, few):
    """Each image keeps one of its four captions in turn, padded to the longest one of all splits."""
    calls = []

    def draw(count, seed, **settings):
        captions = np.arange(5 * 4 * (seed + 2)).reshape(5, 4, seed + 2)
        return Source({"image": np.zeros((5, 1, 1, 3)), "captions": captions})

    monkeypatch.setattr(captioned_shapes, "captions", recorded(calls, draw))
    words = [f"--num_images={num_images}", "--image_size=24", "--grid=3", "--pairs=0.5"]
    splits = text_to_image.experiment.run(resolve(text_to_image.experiment, words)).load()
    assert [args for args, _ in calls] == [(num_images, 0), (few[0], 1), (few[1], 2)]
    assert all(settings == {"size": 24, "grid": 3, "pairs": 0.5} for _, settings in calls)
    assert splits.train.arrays["tokens"].tolist() == [
        [0, 1, 0, 0], [10, 11, 0, 0], [20, 21, 0, 0], [30, 31, 0, 0], [32, 33, 0, 0]
    ]  # fmt: skip
    assert splits.test.name == "captioned shapes (test)"


def test_the_network_of_prompts_and_the_note_of_its_measure():
    flags = resolve(text_to_image.experiment, ["--smoke", "--num_samples=7"])
    splits = text_to_image.experiment.run(flags).load()
    assert splits.notes == ("object_correctness: 7 samples of test prompts, shapes read without a network",)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (16, 8, 8)
    np.testing.assert_array_equal(splits.shown.arrays["tokens"], splits.test.arrays["tokens"])
    run = text_to_image.experiment.run(flags, splits.spec, 10, jnp.float32)
    given = run.arguments()
    assert given["shape"] == (16, 16, 3)
    assert run.evaluators(splits, "valid") == []
    (measure,) = run.evaluators(splits, "test")
    assert len(measure.source) == 7
    source, names = samples_of(text_to_image.experiment, flags.replace(num_drawn=10), splits.spec)
    np.testing.assert_array_equal(source.arrays["tokens"][8:], source.arrays["tokens"][:2])  # eight, and over again
    assert names[8:] == names[:2]
    np.testing.assert_array_equal(source.arrays["tokens"][:8], splits.test.arrays["tokens"])


def test_a_prompt_of_the_longest_length_fits_between_its_two_marks():
    spec = text_to_image.experiment.run(resolve(text_to_image.experiment, ["--smoke"])).load().spec
    facts = Facts.of(spec)
    most = facts.length - 2
    assert captioned_shapes.tokens_of("a " * most, facts).shape == (most + 2,)
    with pytest.raises(ValueError, match=f"{most + 1} words; allowed: at most {most}"):
        captioned_shapes.tokens_of("a " * (most + 1), facts)


def test_factors_have_a_tenth_to_validate_and_an_eighth_to_test(monkeypatch):
    calls = []
    monkeypatch.setattr(
        importlib.import_module("dlcore.data.factor_shapes"), "factor_shapes", recorded(calls, "source")
    )
    splits = vae.experiment.run(resolve(vae.experiment, ["--dataset=factors", "--num_images=160"])).load()
    assert [args for args, _ in calls] == [(160, 0, 16), (16, 1, 16), (20, 2, 16)]
    assert splits.spec["num_classes"] == len(splits.spec["class_names"])
    vae.experiment.run(resolve(vae.experiment, ["--dataset=factors", "--num_images=20", "--image_size=12"])).load()
    assert [args for args, _ in calls[3:]] == [(20, 0, 12), (8, 1, 12), (8, 2, 12)]


@pytest.mark.parametrize(("split", "dataset", "found"), [("test", "digits", ["measure"]), ("valid", "digits", [])])
def test_samples_of_codes_are_measured_at_the_end_where_a_network_knows_the_images(monkeypatch, split, dataset, found):
    monkeypatch.setattr(image_generation, "evaluators", lambda *args: ["measure"])
    asked = []
    monkeypatch.setattr(image_generation, "network_of", lambda *args: asked.append(args))
    run = SimpleNamespace(facts=Facts(dataset=dataset), flags="flags", spec="spec")
    measure = image_generation.FinalFrechet(classifier=vae.experiment)
    assert measure.evaluators(run, None, split) == found
    assert asked == ([("flags", "spec", vae.experiment)] if split == "valid" else [])
    run.facts = Facts(dataset="factors")
    assert measure.evaluators(run, None, split) == []


@pytest.mark.parametrize(("num_volumes", "few"), [(60, (12, 20)), (10, (8, 8))])
def test_volumes_have_a_fifth_to_validate_and_a_third_to_test_but_eight_at_least(monkeypatch, num_volumes, few):
    calls, module = [], importlib.import_module("dlcore.data.planted_organs")
    monkeypatch.setattr(module, "planted_organs", recorded(calls, "source"))
    *splits, spacing, notes = scans.ScansWithLabels(num_volumes=num_volumes)._planted()
    assert [args for args, _ in calls] == [(num_volumes, 0), (few[0], 1), (few[1], 2)]
    assert (splits, spacing, notes) == (["source"] * 3, module.SPACING, ())


def test_the_slice_with_most_organs_is_shown_from_black_to_white():
    """The second slice of the first volume and the last one of the second have most organs; void is no organ.

    The first volume's values are 0 to 11: their 1st percentile, 0.11, is black, and their 99th, 10.89, is white.
    """
    images = np.arange(2 * 3 * 2 * 2, dtype=np.float32).reshape(2, 3, 2, 2)
    targets = np.zeros((2, 3, 2, 2), np.uint8)
    targets[0, 1, 0] = 1
    targets[0, 2, 0, 0] = 2
    targets[1, 2, 0, 0] = 2
    targets[0, 0] = targets[1, 1] = 255
    pictures, classes, chosen = scan_results._slices(images, targets + 10, targets)
    np.testing.assert_array_equal(chosen, [targets[0, 1], targets[1, 2]])
    np.testing.assert_array_equal(classes, chosen + 10)
    assert pictures.shape == (2, 2, 2, 3)
    low, high = 0.01 * 11, 0.99 * 11
    expected = np.rint(255 * np.clip((np.arange(4, 8) - low) / (high - low), 0, 1)).reshape(2, 2)
    np.testing.assert_array_equal(pictures[0, ..., 0], expected)
    assert pictures[1].max() == 255  # 23 is above 99 %
    assert scan_results._slices(np.ones((1, 1, 2, 2)), targets[:1, :1], targets[:1, :1])[0].max() == 0


def test_organs_stand_above_their_mean_and_the_baseline():
    """0.0625 is rounded to even, 0.062."""
    context = SimpleNamespace(
        arrays={"dice/by_organ": [0.5, np.nan], "surface_distance_by_organ": [1.25, np.inf]},
        numbers={"dice": 0.75, "surface_distance": None, "missed_organs": 0.125},
        spec={"class_names": ["background", "liver", "spleen"], "trivial": {"dice": (0.0625, "the rule")}},
    )
    panel = scan_results._organ_table(context)
    assert [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in panel.html.split("<tr>")[2:]] == [
        ["liver", "0.500", "1.25"], ["spleen", "–", "–"], ["mean", "0.750", "–"], ["mean, by the rule", "0.062", ""]
    ]  # fmt: skip
    assert "0.125 of the organs were missed" in panel.subtitle


def test_surfaces_are_measured_on_the_test_split_with_the_spacing_of_the_data(monkeypatch):
    module = importlib.import_module("dlcore.evaluators.surfaces")
    monkeypatch.setattr(module, "surface_evaluator", lambda *args: args)
    page, spec = volumes_page.experiment, {"class_names": [*"abc"], "spacing": [4.0, 2.0, 2.0]}
    run = page.run(resolve(page, []), spec, 10, jnp.bfloat16)
    assert run.evaluators(None, "test") == [(3, (4.0, 2.0, 2.0), run.flags.void_label)]
    assert run.evaluators(None, "valid") == []
    model = run.arguments()["model"]
    assert (model.num_classes, model.spacing, model.dtype) == (3, (4.0, 2.0, 2.0), jnp.bfloat16)


def test_padding_of_a_scan_is_cut_off_before_its_organs_are_measured():
    """The scan has 1 x 2 x 3 of the 2 x 3 x 4 voxels; three of these are liver, of 4 mm³ each."""
    classes = np.ones((1, 2, 3, 4), np.uint8)
    classes[0, 0, 0, :3] = 0
    outputs = {"classes": classes, "size": np.array([[1, 2, 3]])}
    spec = {"spacing": [2.0, 1.0, 2.0], "class_names": ["background", "liver", "spleen"]}
    (row,) = volumes_page.experiment.use.describe(outputs, Facts.of(spec))
    (exact,) = volumes_page.experiment.use.describe(outputs, Facts.of({**spec, "spacing": [2.0, 1.0, 0.72222]}))
    assert exact["volumes"]["liver"] == 4.333  # 3 of 1.44444, rounded
    assert row == {"volumes": {"liver": 12.0, "spleen": 0.0}, "text": "liver 12 mm³  spleen 0 mm³"}


def test_volumes_show_their_slices_before_the_measures(monkeypatch, bare_panels):
    monkeypatch.setattr("dlcore.report.segmentation.segmentations", lambda *rest: rest)
    image, semantic = np.zeros((1, 2, 3, 4, 1)), np.zeros((1, 2, 3, 4), np.uint8)
    image[0, 1, 0, 0], semantic[0, 1, 0, 0] = 1, 1
    context = SimpleNamespace(
        spec={"class_names": ["none", "liver"], "trivial": {"dice": (0.1, "the rule")}}, history="history",
        numbers={"dice": 0.5, "surface_distance": 2.0, "missed_organs": 0.0},
        data=SimpleNamespace(test=SimpleNamespace(arrays={"image": image, "semantic": semantic})),
        outputs={"classes": 7 * semantic},
        arrays={"dice/by_organ": [0.5], "surface_distance_by_organ": [2.0]},
    )  # fmt: skip
    slices, measures, triage, curves = scan_results.panels(context)
    images, classes, targets, names, count, title = slices
    assert (images.shape, int(images[0, 0, 0, 0]), int(images.sum())) == ((1, 3, 4, 3), 255, 3 * 255)
    assert (int(classes[0, 0, 0]), int(targets[0, 0, 0])) == (7, 1)
    assert (names, count, title) == (["none", "liver"], 6, "Slices of the worst volumes first")
    assert (measures.title, triage, curves) == ("Organs", ("history", 0.0), "history")
