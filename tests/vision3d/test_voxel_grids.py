"""Voxel grids of solids: their shares, baselines, turns, ModelNet, and pictures from two sides."""

from types import SimpleNamespace

import numpy as np
import pytest

from dlcore.experiment.resolve import resolve
from dlcore.vision3d import voxel_grids
from dlcore.vision3d.voxel_generation import mean_shape_iou, nearest_image_iou
from dlcore.vision3d.voxel_grids import VoxelGrids, VoxelImages
from experiments.vision3d import voxel_classifier


@pytest.mark.parametrize(("num_solids", "few"), [(100, (10, 25)), (12, (8, 8))])
def test_voxels_have_a_tenth_to_validate_and_a_quarter_to_test_but_eight_at_least(num_solids, few):
    splits = VoxelGrids(num_solids=num_solids, resolution=8).load()
    assert [len(split) for split in splits[:3]] == [num_solids, *few]
    train, test = splits.train.arrays, splits.test.arrays
    assert train["image"].shape == (num_solids, 8, 8, 8, 1)
    differing = (test["image"][:, None] != train["image"]).sum((2, 3, 4, 5))
    accuracy = (train["label"][differing.argmin(1)] == test["label"]).mean()
    assert splits.spec["trivial"] == {"accuracy": (pytest.approx(accuracy), "the nearest training grid")}
    assert splits.spec["image_shape"] == [8, 8, 8, 1]


def test_voxels_have_a_power_of_two_of_them_along_each_side():
    for resolution in (8, 64):
        voxel_classifier.experiment.run(resolve(voxel_classifier.experiment, [f"--resolution={resolution}"])).check()
    with pytest.raises(ValueError, match="resolution=24: no power of two; allowed: 8, 16, 32, 64, 128"):
        voxel_classifier.experiment.run(resolve(voxel_classifier.experiment, ["--resolution=24"])).check()


@pytest.mark.parametrize("num_solids", [10, 100])
def test_the_baseline_of_generated_voxels_is_the_better_of_two(num_solids):
    splits = VoxelImages(num_solids=num_solids, resolution=8).load()
    train, test = splits.train.arrays, splits.test.arrays
    values = {
        "the mean shape": mean_shape_iou(train["voxels"], test["voxels"]),
        "the solid of the nearest training image": nearest_image_iou(train, test),
    }
    assert splits.spec["trivial"]["iou"] == (max(values.values()), max(values, key=values.__getitem__))
    assert splits.spec["resolution"] == 8


def test_grids_are_turned_on_request_and_read_as_numbers():
    given = VoxelGrids().arguments(None)
    assert given["augment"] is voxel_grids.quarter_turn
    assert given["preprocess"](np.ones(2, np.uint8)).dtype == np.float32
    assert VoxelGrids(quarter_turns=False).arguments(None)["augment"] is None


def test_modelnet_is_read_upright_and_a_share_of_it_validates(tmp_path):
    """A point at x -0.9, y 0.3, z 0.7, in quarters from -1 on, is in cells 0, 5 and 6: row 7 - 6, column 0, depth 5."""
    for split, count in (("train", 10), ("test", 3)):
        points = np.tile(np.float32([-0.9, 0.3, 0.7]), (count, 2, 1))
        points[count // 2 :, 1] = 0.1  # of the other class: a second voxel
        labels = np.arange(count) >= count // 2
        np.savez(tmp_path / f"modelnet10_{split}.npz", points=points, labels=labels.astype(int), class_names=["a", "b"])
    splits = VoxelGrids(data_dir=str(tmp_path), resolution=8, valid_fraction=0.2).load()
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [8, 2, 3]
    image = splits.test.arrays["image"]
    assert image.shape == (3, 8, 8, 8, 1)
    assert np.argwhere(image[0, ..., 0]).tolist() == [[1, 0, 5]]
    assert np.argwhere(image[2, ..., 0]).tolist() == [[1, 0, 5], [3, 4, 4]]
    assert splits.test.arrays["label"].tolist() == [0, 1, 1]
    spec = splits.spec
    assert (spec["dataset"], spec["class_names"], spec["num_classes"]) == ("modelnet10", ["a", "b"], 2)
    assert spec["trivial"] == {"accuracy": (1.0, "the nearest training grid")}


def test_voxels_are_shown_as_seen_from_the_camera_and_from_the_left_side(bare_panels):
    """One voxel of 8 x 8 x 8 is at row 1, column 2, depth 5, the generated one at row 3, column 4, depth 0.

    The first has the nearness 1 - 5/8 at (1, 2), and from the left 1 - 2/8 at (1, 5).
    """
    solids, generated = np.zeros((2, 13, 8, 8, 8))
    solids[12, 0, 0, 0] = 1
    solids[0, 1, 2, 5] = generated[0, 3, 4, 0] = 1
    context = SimpleNamespace(
        data=SimpleNamespace(test=SimpleNamespace(arrays={"voxels": solids, "image": np.arange(13)})),
        outputs={"voxels": generated},
        history="curves",
    )
    (rows, title, caption), curves = voxel_grids.generated_panels(context)
    assert (title, caption, curves) == (
        "Generated solids", "The first test solids, unselected; brighter is nearer.", "curves"
    )  # fmt: skip
    assert rows["test images"].tolist() == [*range(12)]
    wanted = {
        "solids, from the camera": (1, 2, 3 / 8),
        "generated, from the camera": (3, 4, 1),
        "solids, from the left side": (1, 5, 6 / 8),
        "generated, from the left side": (3, 0, 4 / 8),
    }
    assert list(rows)[1:] == list(wanted)
    for name, (row, column, nearness) in wanted.items():
        assert rows[name].shape == (12, 8, 8, 1)
        assert np.argwhere(rows[name][..., 0]).tolist() == [[0, row, column]]
        assert rows[name].max() == nearness
    test = {"image": solids[..., None], "label": "labels"}
    context = SimpleNamespace(
        data=SimpleNamespace(test=SimpleNamespace(arrays=test)), numbers={"loss": 1}, arrays={"confusion": 2},
        outputs={"probabilities": "p"}, spec={"class_names": "names"}, history="curves",
    )  # fmt: skip
    curves, (measures, pictures, *rest) = voxel_grids.grid_panels(context)
    assert (curves, measures, rest) == ("curves", {"loss": 1, "confusion": 2}, ["labels", "p", "names", {}])
    np.testing.assert_array_equal(pictures[:12], rows["solids, from the camera"])
