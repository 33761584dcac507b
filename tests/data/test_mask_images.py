"""The task of segmentation: splits, weights, baselines, augmentation, masks of own images."""

import importlib
import json
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dlcore.data import mask_images
from dlcore.data.facts import Facts
from dlcore.data.mask_images import MaskImages
from dlcore.evaluators import box_results, segment_results
from dlcore.experiment.resolve import resolve
from dlcore.main import main
from dlcore.report import mask_results, scan_results
from dlcore.report.predicted_meshes import PredictMeshes
from dlcore.segmentation import prompt_results
from experiments.detection import fcos as fcos_page
from experiments.segmentation import deeplab as deeplab_page
from experiments.segmentation import fcn as fcn_page
from experiments.segmentation import lraspp as lraspp_page
from experiments.segmentation import unet

WRITERS = {
    "boxes": box_results.write,
    "masks": mask_results.SegmentImages().write,
    "prompts": prompt_results.SegmentByPrompts().write,
    "segments": segment_results.FindSegments().write,
    "meshes": PredictMeshes().write,
    "volumes": scan_results.SegmentScans().write,
}


@pytest.mark.parametrize("name", WRITERS)
def test_results_are_written_to_a_new_folder_and_to_one_that_is_there(name, tmp_path):
    """Of no image at all."""
    folder = tmp_path / "new" / "folder"
    outputs, spec = {"classes": [], "original_size": []}, {"class_names": ["a"], "stuff_names": [], "thing_names": []}
    facts = spec if name == "boxes" else Facts.of(spec)
    for _ in range(2):
        WRITERS[name](folder, outputs, None, [], facts)
        assert folder.is_dir()


def flags(*argv):
    return resolve(unet.experiment, ["--smoke", *argv])


def pictures(folder, count, size=(12, 16)):
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(folder / "images" / f"{i}.png")
        Image.fromarray(rng.integers(0, 3, size).astype(np.uint8)).save(folder / "masks" / f"{i}.png")


def test_scenes_need_no_folder_and_the_splits_differ():
    data = unet.experiment.run(flags("--num_scenes=12")).load()
    assert [len(s) for s in (data.train, data.valid, data.test)] == [12, 8, 8]
    assert (data.train.arrays["image"][:8] != data.test.arrays["image"]).any()
    assert data.spec["class_names"][0] == "background"
    assert json.loads(json.dumps(data.spec)) == data.spec
    assert "most frequent class of each position" in data.notes[-1]


def test_a_folder_without_splits_is_carved(tmp_path):
    pictures(tmp_path, 10)
    (tmp_path / "classes.json").write_text('{"classes": ["a", "b", "c", "d"]}')
    data = unet.experiment.run(
        flags("--dataset=folder", f"--data_dir={tmp_path}", "--image_size=6,8", "--valid_fraction=0.2")
    ).load()
    assert len(data.train) + len(data.valid) == 10
    assert data.test is data.valid
    assert data.spec["image_shape"] == [6, 8, 3]
    assert any("no test split" in note for note in data.notes)
    assert any("classes without a pixel: d" in note for note in data.notes)
    with pytest.raises(ValueError, match="data_dir=None: missing"):
        unet.experiment.run(flags("--dataset=folder")).load()
    with pytest.raises(ValueError, match="scenes are square"):
        unet.experiment.run(flags("--image_size=32,64")).load()


def test_baselines_by_hand():
    train = np.array([[[0, 1]], [[0, 1]], [[0, 0]]])
    test = np.array([[[0, 1]], [[1, 1]]])
    known = mask_images.baselines(train, test, 2)
    # Class 0 everywhere: 1 of 4 pixels, and class 1 never. By position 0 1: hits 1 of 2 and 2 of 3.
    assert known["most frequent class"] == pytest.approx((1 / 4 + 0) / 2)
    assert known["most frequent class of each position"] == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_weights_are_those_of_the_training_pixels():
    facts = Facts(class_pixels=(50, 20, 1), pixels_beside=(100, 100, 100))
    assert MaskImages(class_weights="none").weights(facts) is None
    np.testing.assert_allclose(MaskImages(class_weights="median").weights(facts), [0.4, 1, 10], rtol=1e-6)
    np.testing.assert_allclose(
        MaskImages(class_weights="enet").weights(facts)[0], 1 / np.log(1.02 + 50 / 71), rtol=1e-6
    )


def test_each_mirror_has_its_probability_and_photographs_are_zoomed_unless_told_otherwise(monkeypatch):
    """Scenes have no up and no down; photographs are mirrored sideways alone."""
    calls = []
    for name in ("random_flip_example", "random_zoom_example", "color_jitter", "compose_examples"):
        monkeypatch.setattr(f"dlcore.data.augment.{name}", lambda *args, name=name: calls.append((name, *args)) or name)
    photographs = {"dataset": "folder", "jitter": 0.0}
    sideways, both = ("random_flip_example", 0.5, 0.0), ("random_flip_example", 0.5, 0.5)
    for fields, expected in (
        ({}, [both]),
        ({"flip": "horizontal", "zoom": (0.5, 1.0)}, [sideways, ("random_zoom_example", 0.5, 1.0)]),
        (photographs, [sideways, ("random_zoom_example", 0.75, 1.5)]),
        ({"flip": "both", "zoom": (1.0, 1.0), **photographs}, [both]),
        ({"flip": "none", "zoom": (1.0, 1.0), **photographs}, []),
    ):
        del calls[:]
        found = MaskImages(**fields).augment(Facts(mean=(0.5,), std=(0.5,)))
        assert calls == [*expected, ("compose_examples", *(call[0] for call in expected))] if expected else calls == []
        assert found == ("compose_examples" if expected else None)


@pytest.mark.parametrize(("num_scenes", "few"), [(240, (24, 40)), (30, (8, 8))])
def test_scenes_have_a_tenth_to_validate_and_a_sixth_to_test_but_eight_at_least(monkeypatch, num_scenes, few):
    """Images have 96 pixels a side unless told otherwise, and shapes half of them at most."""
    calls = []
    draw = lambda *args, **settings: calls.append((args, settings)) or "scenes"  # noqa: E731
    monkeypatch.setattr(importlib.import_module("dlcore.data.segmentation"), "scene_maps", draw)
    *splits, messages = MaskImages(num_scenes=num_scenes, stuff=True)._scenes()
    assert (splits, messages) == (["scenes"] * 3, ())
    counts = [(num_scenes, 0), (few[0], 1), (few[1], 2)]
    assert calls == [(args, {"stuff": True, "size": 96, "largest": 48}) for args in counts]


@pytest.mark.weekly
def test_augmentation_by_flags():
    facts = Facts(mean=(0.5,) * 3, std=(0.25,) * 3)
    assert MaskImages(flip="none").augment(facts) is None
    augment = MaskImages(flip="none", zoom=(0.5, 0.5), jitter=0.5).augment(facts)
    assert augment is not None
    example = {"image": jnp.zeros((8, 8, 3)), "semantic": jnp.zeros((8, 8), jnp.uint8)}
    moved = augment(jax.random.key(0), example)
    assert int((moved["semantic"] == 255).sum()) == 64 - 16  # half as wide and high, void around
    assert np.abs(moved["image"]).max() > 0.01  # gray turned brighter or darker
    assert np.isfinite(moved["image"]).all()


@pytest.mark.parametrize("page", [unet, fcos_page])
def test_a_zoom_that_is_no_range_is_named(page):
    with pytest.raises(ValueError, match=r"--zoom=2,1: no range; allowed: the least factor, then the greatest"):
        resolve(page.experiment, ["--zoom=2,1"])
    assert resolve(page.experiment, ["--zoom=0.5,0.5"]).zoom == (0.5, 0.5)


def test_own_images_get_masks_and_overlays_of_their_size(tmp_path):
    for name, size in (("a", (12, 20)), ("b", (30, 10))):
        Image.fromarray(np.full((*size, 3), 50, np.uint8)).save(tmp_path / f"{name}.png")
    facts, use = Facts(class_names=("sky", "road"), image_shape=(8, 8, 3)), mask_results.SegmentImages()
    source, names = use.inputs(str(tmp_path), SimpleNamespace(facts=facts))
    chex.assert_shape(source.arrays["image"], (2, 8, 8, 3))
    classes = np.zeros((2, 8, 8), np.uint8)
    classes[:, 4:] = 1
    files = use.write(tmp_path / "out", {"classes": classes}, source, names, facts)
    assert [f.name for f in files] == ["a_mask.png", "a_overlay.png", "b_mask.png", "b_overlay.png"]
    with Image.open(files[2]) as mask:
        assert mask.mode == "P"
        np.testing.assert_array_equal(mask, np.repeat([0, 1], 15)[:, None].repeat(10, 1))
        assert mask.getpalette()[:6] == [128, 128, 128, 128, 64, 128]
    with Image.open(files[3]) as picture:
        assert picture.size == (10, 30)
    (row, _) = use.describe({"classes": classes}, facts)
    assert row == {"shares": {"sky": 0.5, "road": 0.5}, "text": "sky 50.0 %  road 50.0 %"}


def test_an_image_is_resized_the_same_beside_others(tmp_path):
    """At the training size, whatever lies beside it; at its own size on request."""
    rng = np.random.default_rng(0)
    for name in "ab":
        Image.fromarray(rng.integers(0, 256, (12, 20, 3), np.uint8)).save(tmp_path / f"{name}.png")
    run = SimpleNamespace(facts=Facts(class_names=("sky", "road"), image_shape=(8, 10, 3)))
    use, own = mask_results.SegmentImages(), mask_results.SegmentImages(own_size=True)
    alone = use.inputs(str(tmp_path / "a.png"), run)[0].arrays["image"]
    alike = use.inputs(str(tmp_path), run)[0].arrays["image"]
    chex.assert_shape(own.inputs(str(tmp_path), run)[0].arrays["image"], (2, 12, 20, 3))
    Image.fromarray(np.zeros((30, 10, 3), np.uint8)).save(tmp_path / "c.png")
    mixed = use.inputs(str(tmp_path), run)[0].arrays["image"]
    chex.assert_shape(alone, (1, 8, 10, 3))
    np.testing.assert_array_equal(alone[0], alike[0])
    np.testing.assert_array_equal(alone[0], mixed[0])
    with pytest.raises(ValueError, match=r"c\.png has 30 by 10 pixels, .*a\.png 12 by 20; allowed: images of one size"):
        own.inputs(str(tmp_path), run)


@pytest.mark.slow
def test_a_run_from_training_to_masks(tmp_path, capsys):
    """Of one step: the report has its panels, and another size of image is segmented."""
    run = tmp_path / "run"
    # 84 // 6 = 14 test scenes: more than the 8 worst and half of the 4 typical ones.
    argv = ["--smoke", "--steps=1", "--num_scenes=84", "--batch_size=4", "--unet.widths=2,2", f"--run_dir={run}"]
    assert main(unet.experiment, argv) in (0, None)
    report = (run / "report.html").read_text()
    for title in (
        "Worst images first",
        "Images of median IoU",
        "IoU by class",
        "Confusion matrix",
        "most frequent class of each position",
    ):
        assert title in report
    Image.fromarray(np.full((13, 30, 3), 50, np.uint8)).save(tmp_path / "own.png")
    predict = ["--mode=predict", f"--run={run}", f"--input={tmp_path / 'own.png'}", f"--output={tmp_path / 'out'}"]
    assert main(unet.experiment, predict) in (0, None)
    assert "wrote 2 files" in capsys.readouterr().out
    with Image.open(tmp_path / "out" / "own_mask.png") as mask:
        assert mask.size == (30, 13)


@pytest.mark.parametrize(
    ("page", "words", "message"),
    [
        (
            deeplab_page,
            ["--model=mlp"],
            "--model=mlp: no map layer4, which --deeplab.stage names; allowed: --deeplab.stage",
        ),
        (deeplab_page, ["--deeplab.stage=last"], "--model=resnet18: no map last, which --deeplab.stage names; allowed"),
        (lraspp_page, ["--model=mlp"], "--model=mlp: no map stage1, which --lraspp.fine names"),
        (fcn_page, ["--fcn.skips=layer9"], "--model=resnet18: no map layer9, which --fcn.skips names; allowed"),
        (fcos_page, ["--model=mlp"], "--model=mlp: no map stage3, stage4, which --fcos.stages names"),
    ],
)
def test_a_backbone_without_the_maps_is_refused_before_data_are_read(page, words, message):
    with pytest.raises(ValueError, match=message):
        page.experiment.run(resolve(page.experiment, words)).check()
    page.experiment.run(resolve(page.experiment, [])).check()


def test_images_are_described_by_their_classes_and_drawn(monkeypatch):
    classes = np.array([[[0, 2], [2, 2]], [[1, 1], [1, 1]]])
    describe = mask_results.SegmentImages().describe
    first, second = describe({"classes": classes}, Facts(class_names=("a", "b", "c")))
    assert first == {"shares": {"c": 0.75, "a": 0.25}, "text": "c 75.0 %  a 25.0 %"}
    assert second == {"shares": {"b": 1.0}, "text": "b 100.0 %"}
    many = np.repeat(np.arange(7), np.arange(1, 8)).reshape(1, 4, 7)  # class k has k + 1 of 28 pixels
    (row,) = describe({"classes": many}, Facts(class_names=tuple("abcdefg")))
    assert row["text"] == "g 25.0 %  f 21.4 %  e 17.9 %  d 14.3 %  c 10.7 %  b 7.1 %", "the six largest"
    assert row["shares"] == {name: round((k + 1) / 28, 4) for k, name in reversed([*enumerate("abcdefg")])}
    # Void pixels (255) count nowhere.
    confusion = mask_results._confusion(classes[0], np.array([[0, 1], [2, 255]]), 3)
    assert confusion.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 1]]


@pytest.mark.parametrize(("count", "typical"), [(14, True), (13, False)])
def test_images_of_median_iou_are_shown_where_they_are_others(monkeypatch, count, typical, bare_panels):
    """The 4 around the middle end at (14 + 4) // 2 = 9, behind the 8 worst; of 13 images at 8."""
    calls = []

    def segmentations(images, classes, targets, names, *rest, **more):
        calls.append((rest, more))
        return "images"

    monkeypatch.setattr("dlcore.report.segmentation.segmentations", segmentations)
    monkeypatch.setattr("dlcore.report.segmentation.class_table", lambda *rest: rest)
    monkeypatch.setattr("dlcore.report.classification.confusion_matrix", lambda confusion, names: confusion.tolist())
    classes = np.zeros((count, 1, 2), int)
    arrays = {"image": np.zeros((count, 1, 2, 3)), "semantic": np.array([[[0, 1]]] * count)}
    context = SimpleNamespace(
        spec={"class_names": ["a", "b"], "baselines": "baselines"},
        data=SimpleNamespace(test=SimpleNamespace(arrays=arrays)),
        outputs={"classes": classes},
        history=[{"step": 1, "iou/a": 0.5}],
        arrays={"mean_iou/by_class": "iou", "boundary/boundary_iou_by_class": "boundary"},
        numbers={"mean_iou": 0.25},
        flags=SimpleNamespace(overlap="none"),
    )
    panels = mask_results.panels(context)
    assert panels[: 1 + typical] == ["images"] * (1 + typical)
    assert calls[-1] == ((8,), {"sizes": None})
    median = [call for call in calls if "typical" in call[1]]
    assert (median if typical else []) == (
        [((4, "Images of median IoU"), {"typical": True, "num_worst": 8, "sizes": None})] if typical else []
    )
    iou, boundary, confusion, names, mean, baselines = panels[1 + typical]
    assert (iou, boundary, names, mean, baselines) == ("iou", "boundary", ["a", "b"], 0.25, "baselines")
    assert confusion.tolist() == panels[2 + typical] == [[count, 0], [count, 0]]
    assert panels[3 + typical :] == [([{"step": 1}], 0.0), [{"step": 1}]]
    context.flags.overlap = "dice"
    assert mask_results.panels(context)[-2][1] is None


def test_the_first_four_masks_stand_above_their_targets(monkeypatch):
    monkeypatch.setattr("dlcore.report.segmentation.overlay", lambda image, mask, colors: image + mask + len(colors))
    monkeypatch.setattr("dlcore.report.segmentation.palette", lambda names: names)
    arrays = {"image": np.zeros((5, 1, 1, 3)), "semantic": 10 * np.arange(5).reshape(5, 1, 1, 1)}
    context = SimpleNamespace(
        spec={"class_names": ["a", "b"]},
        data=SimpleNamespace(test=SimpleNamespace(arrays=arrays)),
        outputs={"classes": np.arange(5).reshape(5, 1, 1, 1)},
    )
    picture = mask_results.ClassIoU().pictures(context)["segmentations"]
    np.testing.assert_array_equal(picture[..., 1], [[2, 3, 4, 5], [2, 12, 22, 32]])


def test_colors_change_before_the_image_is_normalized(monkeypatch):
    """A jitter that adds 0.5 to pixels in [0, 1]: of 0.3 it makes 0.8, and of 1, which it is cut to, 1.5."""
    strengths = []
    jitter = "dlcore.data.augment.color_jitter"
    monkeypatch.setattr(jitter, lambda *rest: strengths.append(rest) or (lambda key, image: image + 0.5))
    facts = Facts(mean=(0.5, 0.1, 0.2), std=(0.25, 0.5, 1.0))
    augment = MaskImages(flip="none", jitter=0.4).augment(facts)
    assert augment is not None
    pixels = np.array([0.3, 2.0, 0.3])
    image = np.broadcast_to((pixels - facts.mean) / facts.std, (2, 2, 3)).astype(np.float32)
    example = augment(jax.random.key(0), {"image": image, "semantic": 5})
    wanted = (np.array([0.8, 1.5, 0.8]) - facts.mean) / facts.std
    np.testing.assert_allclose(example["image"], np.broadcast_to(wanted, (2, 2, 3)), rtol=1e-5)
    assert (example["semantic"], strengths) == (5, [(0.4, 0.4, 0.4)])
    # Photographs change by 0.3 unless something else is asked for, scenes do not.
    assert MaskImages("folder", flip="none", zoom=(1.0, 1.0)).augment(facts) is not None
    assert strengths[1:] == [(0.3, 0.3, 0.3)]
    assert MaskImages(flip="none").augment(facts) is None
