"""The shared part of detection's experiments: splits by name, errors that name the flag, predictions as text."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dlcore.experiment.resolve import resolve
from dlcore.experiment.setting import FlagError
from dlcore.kits import detection, detection_results
from experiments.detection.fcos import experiment


def flags(*argv):
    return resolve(experiment, ["--smoke", *argv])


def test_scenes_need_no_folder_and_the_splits_differ():
    data = detection.data(flags("--image_size=48,48", "--num_scenes=12"))
    assert [len(s) for s in (data.train, data.valid, data.test)] == [12, 8, 8]
    assert (data.train.arrays["image"][:8] != data.test.arrays["image"]).any()
    assert data.spec["num_classes"] == len(data.spec["class_names"]) == 5
    assert json.loads(json.dumps(data.spec)) == data.spec
    example = detection_results.example(data.spec)
    rows = data.train[:1]
    assert {k: (v.shape, v.dtype) for k, v in example.items()} == {k: (v.shape, v.dtype) for k, v in rows.items()}


def test_masks_keypoints_and_stuff_are_loaded_where_an_experiment_wants_them():
    wanted = detection.fields(masks=True, keypoints=True, stuff=True)["data"]
    data = wanted(flags("--image_size=48,48", "--num_scenes=12"))
    example, rows = detection_results.example(data.spec), data.train[:1]
    assert set(rows) - set(example) == {"modal_boxes", "colors"}
    for name, value in example.items():
        assert (value.shape, value.dtype) == (rows[name].shape, rows[name].dtype)
    assert data.spec["keypoint_names"] == ["left", "top", "right", "bottom"]
    assert data.spec["stuff_names"] == ["smooth", "striped", "checked"]
    assert set(detection.FIELDS["data"](flags("--image_size=48,48", "--num_scenes=12")).train.arrays) == {
        "image",
        "boxes",
        "labels",
        "box_mask",
    }
    with pytest.raises(ValueError, match="no semantic maps"):
        wanted(flags("--dataset=coco", "--data_dir=x"))


def test_coco_without_validation_or_test_notes_what_is_tested(tmp_path):
    (tmp_path / "images").mkdir()
    notes, images = [], []
    for i in range(10):
        Image.fromarray(np.full((16, 16, 3), 20 * i, np.uint8)).save(tmp_path / "images" / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 16, "height": 16})
        notes.append({"id": i + 1, "image_id": i, "category_id": 4, "bbox": [1, 1, 8, 8], "iscrowd": 0})
    content = {"images": images, "annotations": notes, "categories": [{"id": 4, "name": "cell"}]}
    (tmp_path / "instances_train.json").write_text(json.dumps(content))
    data = detection.data(
        flags("--dataset=coco", f"--data_dir={tmp_path}", "--image_size=16,16", "--valid_fraction=0.2")
    )
    assert len(data.train) + len(data.valid) == 10
    assert 1 <= len(data.valid) <= 5
    assert data.test is data.valid
    assert any("no test split" in note for note in data.notes)
    assert data.spec["class_names"] == ["cell"]


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match="data_dir=None"):
        detection.data(flags("--dataset=coco"))
    with pytest.raises(ValueError, match="scenes are square"):
        detection.data(flags("--image_size=32,64"))


def test_fields_of_the_detector_are_flags():
    settings = flags("--fcos.channels=24", "--fcos.stages=stage4")
    group = settings.group("fcos")
    assert (group["channels"], group["stages"], group["distance_activation"]) == (24, ("stage4",), "exp")
    assert set(group).isdisjoint(settings.group("learner"))


def test_augmentation_by_flags():
    assert detection.augmentation(flags("--flip=none", "--zoom=1,1")) is None
    assert detection.augmentation(flags("--flip=horizontal", "--zoom=0.8,1.2")) is not None
    for word, problem in (("nan,1", "--zoom=nan: not finite"), ("0,1", "--zoom=0.0: out of range")):
        with pytest.raises(FlagError, match=f"^{problem}; allowed: at least 0.01$"):
            flags(f"--zoom={word}")


def test_boxes_are_described_as_shares_of_the_image():
    spec = {"class_names": ["a", "b"], "image_shape": [50, 100, 3]}
    outputs = {
        "boxes": np.array([[[10.0, 10, 50, 20], [0, 0, 0, 0]]], np.float32),
        "scores": np.array([[0.75, 0]]),
        "labels": np.array([[1, -1]]),
        "valid": np.array([[True, False]]),
    }
    (row,) = detection_results.describe(outputs, spec)
    assert row["detections"] == [{"class": "b", "score": 0.75, "box": [0.1, 0.2, 0.5, 0.4]}]
    assert row["text"] == "b 0.75"
    assert json.loads(json.dumps(row)) == row


def test_files_are_stretched_to_the_size_of_training(tmp_path):
    Image.fromarray(np.zeros((30, 20, 3), np.uint8)).save(tmp_path / "x.png")
    source, names = detection_results.inputs(SimpleNamespace(input=str(tmp_path)), {"image_shape": [48, 64, 3]})
    assert source.arrays["image"].shape == (1, 48, 64, 3)
    assert names == [str(tmp_path / "x.png")]
