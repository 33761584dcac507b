"""The parts of detection: splits by name, errors that name the flag, predictions as text."""

import dataclasses
import importlib
import json
from functools import partial
from types import SimpleNamespace

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dlcore.data import box_images
from dlcore.data.augment.scene_mixing import SceneMixing
from dlcore.data.coco import coco_source
from dlcore.data.facts import Facts
from dlcore.data.masks import unpack_masks
from dlcore.data.scenes import SHAPES
from dlcore.data.source import Source
from dlcore.detection import DETR
from dlcore.detection.faster_rcnn import FasterRCNN
from dlcore.detection.keypoint_rcnn import KeypointHead
from dlcore.detection.mask_rcnn import MaskHead
from dlcore.evaluators import box_measures, box_results
from dlcore.experiment.flags import Flags
from dlcore.experiment.resolve import resolve
from dlcore.models import OnBackbone, Zoo
from dlcore.models import network as network_parts
from dlcore.setting import FlagError
from experiments.detection.fcos import experiment
from experiments.detection.keypoint_rcnn import experiment as keypoint_page
from experiments.detection.mask_rcnn import experiment as mask_page
from tests import overriding

SMALL = {"image_size": (48, 48), "num_scenes": 12}


def flags(*argv, page=experiment):
    return resolve(page, ["--smoke", *argv])


def data_of(*argv):
    return experiment.run(flags(*argv)).load()


def run_of(network=None, **facts):
    """A run with these facts of the data."""
    spec = Facts(**{"mean": (0.5,) * 3, "std": (0.5,) * 3, **facts}).spec()
    return overriding.run_of(Flags({}), spec, dtype=jnp.bfloat16, data=box_images.BoxImages(**SMALL), network=network)


def test_scenes_need_no_folder_and_the_splits_differ():
    data = data_of("--image_size=48,48", "--num_scenes=12")
    assert [len(s) for s in (data.train, data.valid, data.test)] == [12, 8, 8]
    assert (data.train.arrays["image"][:8] != data.test.arrays["image"]).any()
    assert data.spec["num_classes"] == len(data.spec["class_names"]) == 5
    assert json.loads(json.dumps(data.spec)) == data.spec


def test_masks_keypoints_and_stuff_are_loaded_where_an_experiment_wants_them():
    data = box_images.BoxImages(**SMALL, masks=True, keypoints=True, stuff=True).load()
    assert data.spec["masks"] is True
    assert data.spec["keypoint_names"] == ["left", "top", "right", "bottom"]
    assert data.spec["stuff_names"] == ["smooth", "striped", "checked"]
    plain = set(data_of("--image_size=48,48", "--num_scenes=12").train.arrays)
    assert plain == {"image", "boxes", "labels", "box_mask"}
    assert {"masks", "keypoints", "semantic"} <= set(data.train.arrays) - plain
    with pytest.raises(ValueError, match="no semantic maps"):
        box_images.BoxImages("coco", data_dir="x", stuff=True).load()


def test_mean_shapes_are_measured_on_the_test_split_alone():
    data = box_images.BoxImages(**SMALL, masks=True, keypoints=True).load()
    run = run_of(class_names=SHAPES, keypoint_names=("left", "top", "right", "bottom"))
    names = {
        (part.metric, split): {name for evaluator in part.evaluators(run, data, split) for name in evaluator.names}
        for part in (box_measures.MaskMAP(), box_measures.KeypointPCK())
        for split in ("valid", "test")
    }
    assert names["mask_map", "test"] - names["mask_map", "valid"] == {"mean_mask_map"}
    assert names["pck", "test"] - names["pck", "valid"] == {"mean_keypoint_pck"}
    assert {"map", "mask_map"} <= names["mask_map", "valid"]
    assert {"map", "keypoint_map", "pck"} <= names["pck", "valid"]
    (plain,) = box_measures.BoxMAP().evaluators(run_of(class_names=("a",)), data, "test")
    assert set(plain.names) == {
        *("map", "map50", "map75", "map_small", "map_medium", "map_large", "recall100", "map/a", "map50/a")
    }


def test_coco_without_validation_or_test_notes_what_is_tested(tmp_path):
    (tmp_path / "images").mkdir()
    notes, images = [], []
    for i in range(10):
        Image.fromarray(np.full((16, 16, 3), 20 * i, np.uint8)).save(tmp_path / "images" / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 16, "height": 16})
        notes.append({"id": i + 1, "image_id": i, "category_id": 4, "bbox": [1, 1, 8, 8], "iscrowd": 0})
    content = {"images": images, "annotations": notes, "categories": [{"id": 4, "name": "cell"}]}
    (tmp_path / "instances_train.json").write_text(json.dumps(content))
    data = data_of("--dataset=coco", f"--data_dir={tmp_path}", "--image_size=16,16", "--valid_fraction=0.2")
    assert len(data.train) + len(data.valid) == 10
    assert 1 <= len(data.valid) <= 5
    assert data.test is data.valid
    assert any("no test split" in note for note in data.notes)
    assert data.spec["class_names"] == ["cell"]


def test_missing_folders_and_oblong_scenes_are_refused():
    with pytest.raises(ValueError, match="data_dir=None"):
        data_of("--dataset=coco")
    with pytest.raises(ValueError, match="scenes are square"):
        data_of("--image_size=32,64")


def test_the_first_measure_of_a_page_selects_its_best_checkpoint():
    pages = (experiment, mask_page, keypoint_page)
    assert [page.parts.monitor for page in pages] == ["map", "mask_map", "pck"]


def test_fields_of_the_detector_are_flags():
    settings = flags("--fcos.channels=24", "--fcos.stages=stage4")
    group = settings.group("fcos")
    assert (group["channels"], group["stages"], group["distance_activation"]) == (24, ("stage4",), "exp")
    assert set(group).isdisjoint(settings.group("learner"))


def augmentation(*argv, page=experiment, names=()):
    data = page.parts.resolved(flags(*argv, page=page)).data
    return data.augment(Facts(keypoint_names=names))


def test_augmentation_by_flags():
    assert augmentation("--flip=none", "--zoom=1,1") is None
    assert augmentation("--flip=horizontal", "--zoom=0.8,1.2") is not None
    for word, problem in (("nan,1", "--zoom=nan: not finite"), ("0,1", "--zoom=0.0: out of range")):
        with pytest.raises(FlagError, match=f"^{problem}; allowed: at least 0.01$"):
            flags(f"--zoom={word}")


def test_each_mirror_has_its_probability_and_a_folder_is_zoomed_unless_told_otherwise(monkeypatch):
    calls = []
    for name in ("random_flip_example", "random_zoom_example", "compose_examples"):
        monkeypatch.setattr(f"dlcore.data.augment.{name}", lambda *args, name=name: calls.append((name, *args)) or name)
    folder = ["--dataset=coco", "--data_dir=nowhere"]
    both = ("random_flip_example", 0.5, 0.5, ("left", "right"))
    sideways = ("random_flip_example", 0.5, 0.0, ())
    zoom = ("random_zoom_example", 0.75, 1.35)
    for words, names, expected in (
        (["--flip=both"], ("left", "right"), [both]),
        (["--flip=horizontal"], (), [sideways]),
        (["--flip=none", "--zoom=0.5,1"], (), [("random_zoom_example", 0.5, 1.0)]),
        ([*folder, "--flip=horizontal"], (), [sideways, zoom]),
        ([*folder, "--flip=none", "--zoom=1,1"], (), []),
    ):
        del calls[:]
        found = augmentation(*words, names=names)
        assert calls[: len(expected)] == expected
        assert calls[len(expected) :] == ([("compose_examples", *(call[0] for call in expected))] if expected else [])
        assert found == ("compose_examples" if expected else None)
    mixing = augmentation("--flip=none", "--mosaic=0.25")
    assert (mixing.mosaic, mixing.copy_paste, mixing.then) == (0.25, 0.0, None)


def test_a_detector_by_queries_needs_at_least_one_for_each_box_of_an_image():
    """An image has up to 6 boxes, and a mosaic of four images up to 24."""

    def build(queries, mosaic):
        network = SimpleNamespace(modules={"detr": partial(DETR, num_queries=queries)})
        run, data = run_of(network, max_boxes=6), box_images.BoxImages(mixing=box_images.Mosaic(mosaic))
        return set(data.arguments(run))

    assert build(6, 0.0) == build(24, 0.5) == {"preprocess", "augment"}
    for queries, mosaic, least in ((5, 0.0, 6), (23, 0.5, 24)):
        with pytest.raises(ValueError, match=f"detr.num_queries={queries}: too few; allowed: at least {least} boxes"):
            build(queries, mosaic)


def test_heads_have_the_classes_and_the_keypoints_of_the_data():
    detector = OnBackbone(FasterRCNN, backbone=Zoo("resnet8_cifar"))
    heads = {"mask_head": partial(MaskHead, num_convs=1), "keypoint_head": KeypointHead}
    network = network_parts.WithHeads(detector, heads)
    assert list(network.modules) == ["faster_rcnn", "mask_head", "keypoint_head"]
    words = {"faster_rcnn.channels": 8, "mask_head.channels": 4, "model": "resnet8_cifar"}
    groups = {name: tuple(w for w in words if w.startswith(f"{name}.")) for name in (*network.modules, "model")}
    model = network.with_flags(Flags(words, groups)).arguments(
        run_of(class_names=("a", "b"), keypoint_names=("l", "m", "r"))
    )["model"]
    assert (model.channels, model.num_classes, model.backbone.num_classes) == (8, 2, 2)
    assert model.mask_head == MaskHead(2, channels=4, num_convs=1, dtype=jnp.bfloat16)
    assert model.keypoint_head == KeypointHead(3, dtype=jnp.bfloat16)


def test_measures_have_the_names_and_the_heads_of_the_data(monkeypatch):
    """The mean shapes come from the first 500 training images, and the test split alone is measured by them."""
    stand_ins = {
        "coco.coco_evaluator": lambda names, masks=False, keypoints=False: ("coco", names, masks, keypoints),
        "keypoints.pck_evaluator": lambda names: ("pck", names),
        "mean_shape.mean_masks": lambda arrays, classes: ("mean masks", arrays, classes),
        "mean_shape.mean_keypoints": lambda arrays, classes: ("mean keypoints", arrays, classes),
        "mean_shape.evaluate_class_means": lambda evaluator, names, **means: (evaluator, names, means),
    }
    for name, function in stand_ins.items():
        module, _, attribute = name.partition(".")
        monkeypatch.setattr(importlib.import_module(f"dlcore.evaluators.{module}"), attribute, function)
    splits = SimpleNamespace(train=SimpleNamespace(take=lambda count: SimpleNamespace(arrays=f"of {count}")))
    run, classes = run_of(class_names=("a", "b"), keypoint_names=("nose",)), ["a", "b"]
    masks, keypoints = (("mean masks", "of 500", 2), ("mean keypoints", "of 500", 2))
    mean_masks = (("coco", classes, True, False), {"mask_map": "mean_mask_map"}, {"masks": masks})
    mean_points = (("pck", ["nose"]), {"pck": "mean_keypoint_pck"}, {"keypoints": keypoints})
    for part, measures, mean in (
        (box_measures.BoxMAP(), [("coco", classes, False, False)], []),
        (box_measures.MaskMAP(), [("coco", classes, True, False)], [mean_masks]),
        (box_measures.KeypointPCK(), [("coco", classes, False, True), ("pck", ["nose"])], [mean_points]),
    ):
        assert part.evaluators(run, splits, "valid") == measures
        assert part.evaluators(run, splits, "test") == [*measures, *mean]


@pytest.mark.covers("DE-36")
def test_images_are_mixed_by_flags():
    """Mosaic on pages without keypoints, copy-paste on those with masks; then the other augmentations."""
    mixing = augmentation("--mosaic=0.5")
    assert (mixing.mosaic, mixing.copy_paste) == (0.5, 0.0)
    assert mixing.then is not None
    assert not isinstance(augmentation(), SceneMixing)
    copies = augmentation("--copy_paste=0.25", page=mask_page)
    assert (copies.mosaic, copies.copy_paste) == (0.0, 0.25)
    edge = "--resize=shortest_edge:64,96"
    for name, page in (("mosaic", experiment), ("mosaic", mask_page), ("copy_paste", mask_page)):
        with pytest.raises(
            FlagError, match=rf"--{name}=0.5: beside --resize=shortest_edge:64,96; allowed: --resize=stretch"
        ):
            page.run(flags(f"--{name}=0.5", edge, page=page)).check()
    experiment.run(flags("--mosaic=0.5")).check()
    experiment.run(flags("--dataset=coco", "--data_dir=x", edge)).check()


def test_a_mirror_that_would_swap_sides_is_left_out_with_a_note(monkeypatch):
    images = box_images.BoxImages(**SMALL, keypoints=True)
    drawn = images.load()
    assert not any("mirror" in note for note in drawn.notes)
    renamed = dataclasses.replace(drawn.train, keypoint_names=("a", "b", "top", "bottom"))
    monkeypatch.setattr(box_images.BoxImages, "_scenes", lambda self: (renamed, drawn.valid, drawn.test, ()))
    notes = images.load().notes
    assert "flip=both: no horizontal mirror, since no two of the keypoints a, b, top, bottom change places" in notes[0]


def test_boxes_are_described_in_pixels_of_the_photograph():
    # The photograph of 200 by 150 was stretched to 50 by 100: x times 1.5, y times 4.
    spec = {"class_names": ["a", "b"], "image_shape": [50, 100, 3]}
    outputs = {
        "boxes": np.array([[[10.0, 10, 50, 20], [0, 2, 101, 4]], [[0, 0, 0, 0]] * 2], np.float32),
        "scores": np.array([[0.75, 0.5], [0, 0]]),
        "labels": np.array([[1, 0], [-1, -1]]),
        "valid": np.array([[True, True], [False, False]]),
        "original_size": np.array([[200, 150]] * 2),
    }
    row, nothing = box_results.describe(outputs, spec)
    assert row["detections"] == [
        {"class": "b", "score": 0.75, "box_xyxy": [15, 40, 75, 80]},
        {"class": "a", "score": 0.5, "box_xyxy": [0, 8, 150, 16]},
    ]
    assert row["image_size"] == [200, 150]
    assert row["text"].splitlines() == [
        "2 detections in 150 x 200 pixels",
        "  b 0.75  (15.0, 40.0, 75.0, 80.0)",
        "  a 0.50  (0.0, 8.0, 150.0, 16.0)",
    ]
    assert json.loads(json.dumps(row)) == row
    assert (nothing["detections"], nothing["text"]) == ([], "no detection in 150 x 200 pixels")


def test_files_are_stretched_to_the_size_of_training(tmp_path):
    Image.fromarray(np.zeros((30, 20, 3), np.uint8)).save(tmp_path / "x.png")
    source, names = box_results.inputs(SimpleNamespace(input=str(tmp_path)), {"image_shape": [48, 64, 3]})
    chex.assert_shape(source.arrays["image"], (1, 48, 64, 3))
    np.testing.assert_array_equal(source.arrays["original_size"], [[30, 20]])
    assert names == [str(tmp_path / "x.png")]


def two_sizes(folder):
    """A folder in COCO's format, with images of 12 by 24 and 20 by 10."""
    (folder / "images").mkdir()
    content = {"images": [], "annotations": [], "categories": [{"id": 4, "name": "cell"}]}
    for i in range(10):
        height, width = ((12, 24), (20, 10))[i % 2]
        Image.fromarray(np.full((height, width, 3), 200, np.uint8)).save(folder / "images" / f"{i}.png")
        content["images"].append({"id": i, "file_name": f"{i}.png", "width": width, "height": height})
        note = {"id": i + 1, "image_id": i, "category_id": 4, "bbox": [1, 1, 8, 8], "iscrowd": 0}
        content["annotations"].append(note)
    (folder / "instances_train.json").write_text(json.dumps(content))
    return f"--data_dir={folder}"


def test_the_shortest_edge_gives_a_batch_its_sizes(tmp_path):
    data = data_of("--dataset=coco", two_sizes(tmp_path), "--resize=shortest_edge:24,36")
    assert (data.spec["image_shape"], data.spec["resize"]) == ([64, 64, 3], [24, 36])
    np.testing.assert_allclose(data.spec["mean"], [200 / 255] * 3, rtol=1e-6)  # of the images, not of their padding
    sizes = {tuple(np.concatenate(pair)) for pair in zip(*(data.train.arrays[n] for n in SIZES), strict=True)}
    assert sizes == {(18, 36, 12, 24), (36, 18, 20, 10)}


SIZES = ("image_size", "original_size")


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["--resize=foo"], r"--resize=foo: unknown; allowed: stretch, or shortest_edge:S,L"),
        (["--resize=shortest_edge:40,30"], r"--resize=shortest_edge:40,30: S=40 and L=30; allowed: 0 < S <= L"),
    ],
)
def test_a_bad_resizing_is_an_error_of_its_flag(argv, problem):
    with pytest.raises(FlagError, match=problem):
        flags("--dataset=coco", *argv)


def test_a_canvas_that_is_too_small_is_named_before_data_are_read():
    edge = "--resize=shortest_edge:30,40"
    with pytest.raises(ValueError, match=r"^canvas=32,32: too small for resize=shortest_edge:30,40"):
        data_of("--dataset=coco", "--data_dir=nowhere", edge, "--canvas=32,32")
    with pytest.raises(ValueError, match=r"^canvas=32,32: resize=stretch pads nothing"):
        data_of("--dataset=coco", "--data_dir=nowhere", "--canvas=32,32")
    with pytest.raises(ValueError, match=r"^resize=shortest_edge:30,40: scenes are drawn in --image_size"):
        data_of(edge)


def test_predictions_are_of_the_files_own_size(tmp_path):
    """An image of 12 by 24 becomes 18 by 36 on the canvas: its boxes shrink by 1.5."""
    (tmp_path / "in").mkdir()
    Image.fromarray(np.zeros((12, 24, 3), np.uint8)).save(tmp_path / "in" / "x.png")
    Image.fromarray(np.zeros((20, 10, 3), np.uint8)).save(tmp_path / "in" / "y.png")
    spec = {"image_shape": [64, 64, 3], "resize": [24, 36], "class_names": ["a", "b"]}
    source, names = box_results.inputs(SimpleNamespace(input=str(tmp_path / "in")), spec)
    np.testing.assert_array_equal(source.arrays["image_size"], [[18, 36], [36, 18]])
    np.testing.assert_array_equal(source.arrays["original_size"], [[12, 24], [20, 10]])
    found = {key: value for key, value in outputs().items() if key not in ("masks", "keypoints")}
    found |= {name: source.arrays[name] for name in SIZES}
    (first, _) = box_results.describe(found, spec)
    # 8, 4, 24, 20 of 36 by 18, each over 1.5; 20 is beyond the image, and clipped to its height, 12.
    assert first["detections"][0]["box_xyxy"] == [5.33, 2.67, 16, 12]
    box_results.write(tmp_path / "out", found, source, names, spec)
    boxes = json.loads((tmp_path / "out" / "detections.json").read_text())["annotations"]
    np.testing.assert_allclose(boxes[0]["bbox"], [8 / 1.5, 4 / 1.5, 16 / 1.5, 12 - 4 / 1.5], rtol=1e-6)


def outputs(count=2, side=14):
    return {
        "boxes": np.array([[[8.0, 4, 24, 20], [2, 2, 10, 8]]] * count, np.float32),
        "scores": np.array([[0.75, 0.5]] * count),
        "labels": np.array([[1, 0]] * count),
        "valid": np.array([[True, True]] * (count - 1) + [[True, False]]),
        "masks": np.ones((count, 2, side, side), np.float32),
        "keypoints": np.array([[[[8.0, 4, 1], [24, 20, 1]], [[2, 2, 1], [10, 8, 1]]]] * count),
    }


def test_predictions_are_written_in_a_form_that_can_be_read_as_truth(tmp_path):
    files = []
    for i, size in enumerate(((32, 24), (64, 48))):  # (width, height)
        (tmp_path / str(i)).mkdir()
        files.append(tmp_path / str(i) / f"x{i}.png")
        Image.fromarray(np.full((*size[::-1], 3), 90, np.uint8)).save(files[-1])
    spec = {"class_names": ["a", "b"], "image_shape": [24, 32, 3], "keypoint_names": ["nose", "tail"]}
    written = box_results.write(tmp_path / "out", outputs(), None, [str(f) for f in files], spec)
    assert [path.name for path in written] == ["x0_detections.png", "x1_detections.png", "detections.json"]
    assert Image.open(written[1]).size == (64, 48)
    content = json.loads(written[-1].read_text())
    assert [note["score"] for note in content["annotations"]] == [0.75, 0.5, 0.75]
    assert [note["image_id"] for note in content["annotations"]] == [1, 1, 2]
    assert [note["num_keypoints"] for note in content["annotations"]] == [2] * 3
    assert [note["id"] for note in content["annotations"]] == [1, 2, 3]
    # Half a pixel less, since COCO counts from the center of the first one; 2 is a visible keypoint.
    assert content["annotations"][0]["keypoints"] == [7.5, 3.5, 2, 23.5, 19.5, 2]
    assert content["annotations"][2]["keypoints"] == [15.5, 7.5, 2, 47.5, 39.5, 2]
    assert content["annotations"][2]["area"] == 4 * 16 * 16  # of the mask
    assert content["images"][1] == {"id": 2, "file_name": "x1.png", "width": 64, "height": 48}
    assert content["categories"][1] == {"id": 2, "name": "b", "keypoints": ["nose", "tail"]}
    (tmp_path / "images").mkdir()
    for file in files:
        file.rename(tmp_path / "images" / file.name)
    source = coco_source(written[-1], tmp_path / "images", (24, 32), 2, masks=True, keypoints=True)
    # The second image is twice as large: stretched back, all is where it was.
    assert source.class_names == ("a", "b")
    want = outputs()
    for name in ("boxes", "keypoints"):
        got, real = source.arrays[name][..., :4], source.arrays["box_mask"]
        np.testing.assert_allclose(got[real][..., :2], want[name][want["valid"]][..., :2], atol=0.51)
    np.testing.assert_allclose(source.arrays["boxes"][0], want["boxes"][0])
    np.testing.assert_array_equal(source.arrays["labels"], [[1, 0], [1, -1]])
    masks = unpack_masks(source.arrays["masks"], 32)
    assert masks[:, 0, 4:20, 8:24].all()
    assert masks[:, 0].sum() == 2 * 16 * 16
    sizes = {"original_size": np.array([[24, 32], [48, 64]])}
    described = box_results.describe(outputs() | {"map": np.zeros((2, 5))} | sizes, spec)[1]["detections"]
    assert described[0]["keypoints"] == {"nose": [16, 8], "tail": [48, 40]}  # twice (8, 4) and (24, 20)
    assert len(described) == 1


def test_keypoints_beyond_the_image_are_written_at_its_last_pixels(tmp_path):
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(tmp_path / "x.png")
    found = {name: values for name, values in outputs(1).items() if name != "masks"}
    found["keypoints"] = np.array([[[[-9.0, 99, 1], [99, -9, 1]], [[0, 0, 1]] * 2]])
    spec = {"class_names": ["a", "b"], "image_shape": [24, 32, 3], "keypoint_names": ["nose", "tail"]}
    written = box_results.write(tmp_path / "out", found, None, [str(tmp_path / "x.png")], spec)
    (annotation,) = json.loads(written[-1].read_text())["annotations"]
    assert annotation["keypoints"] == [0, 23, 2, 31, 0, 2]


def test_numbers_of_detections_are_rounded_for_people():
    spec = {"class_names": ["a"], "image_shape": [9, 7, 3], "keypoint_names": ["nose"]}
    found = {
        "boxes": np.array([[[1.23456, 2, 3, 4]]]), "scores": np.array([[0.123456]]), "labels": np.array([[0]]),
        "valid": np.array([[1]]), "keypoints": np.array([[[[1.23456, 2.34567, 1]]]]),
        "original_size": np.array([[9, 7]]),
    }  # fmt: skip
    (row,) = box_results.describe(found, spec)
    assert row["detections"] == [
        {"class": "a", "score": 0.1235, "box_xyxy": [1.23, 2, 3, 4], "keypoints": {"nose": [1.23, 2.35]}}
    ]
    assert row["text"].startswith("1 detection in 7 x 9 pixels")


def test_files_of_one_name_do_not_overwrite_each_other(tmp_path):
    files = []
    for i in range(2):
        (tmp_path / str(i)).mkdir()
        files.append(tmp_path / str(i) / "x.png")
        Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(files[-1])
    spec = {"class_names": ["a", "b"], "image_shape": [24, 32, 3]}
    plain = {k: v for k, v in outputs().items() if k not in ("masks", "keypoints")}
    written = box_results.write(tmp_path / "out", plain, None, [str(f) for f in files], spec)
    assert len(set(written)) == 3
    first, *_ = json.loads(written[-1].read_text())["annotations"]
    assert first == {
        "id": 1, "image_id": 1, "category_id": 2, "bbox": [8, 4, 16, 16], "area": 256, "iscrowd": 0, "score": 0.75
    }  # fmt: skip


def test_the_report_shows_the_worst_images_first_and_ap_by_class():
    arrays = {
        "image": np.zeros((3, 24, 32, 3), np.uint8),
        "boxes": np.array([[[8.0, 4, 24, 20], [2, 2, 10, 8]]] * 3, np.float32),
        "labels": np.array([[1, 0]] * 3),
        "box_mask": np.array([[True, True]] * 3),
    }
    context = SimpleNamespace(
        spec={"class_names": ["a", "b"], "keypoint_names": ["nose", "tail"]},
        data=SimpleNamespace(test=Source(arrays)),
        numbers={
            "map": 0.5,
            "map/b": 0.25,
            "mask_map": 0.125,
            "keypoint_map": None,
            "pck": 0.75,
            "mean_mask_map": 0.0625,
        },
        arrays={"pr50": np.ones((101, 2)), "mask_pr50": np.ones((101, 2))},
        outputs=outputs(3),
        history=[],
    )
    found = box_results.panels(context)
    five = {name: np.repeat(values[:1], 5, 0) for name, values in arrays.items()}
    wide = SimpleNamespace(spec=context.spec, data=SimpleNamespace(test=Source(five)), outputs=outputs(5))
    chex.assert_shape(box_results.pictures(wide)["detections"], (48, 4 * 64, 3))  # the first four
    assert found[0].title == "Detections with the most errors"
    # The last image alone lacks a box.
    assert found[0].html.index("1 predicted, 2 true<br>1 missed") < found[0].html.index("2 predicted, 2 true")
    titles = [panel.title for panel in found]
    assert titles[1:5] == [
        "Average precision",
        "Correct keypoints",
        "Precision over recall",
        "Precision over recall of masks",
    ]
    assert "25.0" in found[1].html
    assert "12.5" in found[1].html
    assert "6.2" in found[1].subtitle
    assert "75.0" in found[2].html
    chex.assert_shape(box_results.pictures(context)["detections"], (48, 3 * 64, 3))


@pytest.mark.parametrize(("number", "typical"), [(40, range(18, 22)), (25, range(12, 14)), (16, ())])
def test_the_report_shows_twelve_images_of_most_errors_and_four_of_the_median(monkeypatch, number, typical):
    """Image i has i boxes twice; what is shown among the worst twelve isn't shown again."""
    shown, least = [], []

    def errors(found, truth, num_classes, min_score, by_image):
        least.append(min_score)
        counts = np.zeros((number, num_classes, 7), int)
        counts[:, 1, 1], counts[:, 0, 0] = np.arange(number), 100
        return counts

    def detections(images, found, targets, names, min_score, title, captions, sizes):
        least.append(min_score)
        assert len(found["boxes"]) == len(targets["boxes"]) == len(targets["box_mask"]) == len(images)
        assert found["boxes"].tolist() == targets["boxes"].tolist() == images.tolist()
        shown.append((title, images.tolist(), captions))
        return "images"

    monkeypatch.setattr("dlcore.metrics.detection_errors.detection_errors", errors)
    monkeypatch.setattr("dlcore.report.detection.detections", detections)
    monkeypatch.setattr("dlcore.report.detection.error_kinds", lambda counts, *rest: ("kinds", counts.tolist()))
    index = np.arange(number)
    context = SimpleNamespace(
        spec={"class_names": ["a", "b"]},
        data=SimpleNamespace(test=Source({"image": index, "boxes": index, "box_mask": index})),
        numbers={"map": 0.5},
        arrays={"pr50": -np.ones((101, 2))},
        outputs={"boxes": index},
        history=[],
    )
    context.history = [{"step": 1, "loss": 2.0, "map/a": 0.5}, {}]
    monkeypatch.setattr("dlcore.report.triage.triage_panels", lambda history, floor: [("triage", history, floor)])
    monkeypatch.setattr("dlcore.report.curves.curves", lambda history: ("curves", history))
    found = box_results.panels(context)
    history = [{"step": 1, "loss": 2.0}]
    assert found[-2:] == [("triage", history, None), ("curves", history)]
    places = {"Detections with the most errors": range(12), "Detections with the median number of errors": typical}
    assert shown == [
        (title, [number - 1 - i for i in at], [f"{number - 1 - i} duplicate" for i in at])
        for title, at in places.items()
        if at
    ]
    assert set(least) == {0.3}
    assert ("kinds", [[100 * number, *[0] * 6], [0, number * (number - 1) // 2, *[0] * 5]]) in found
