"""The study of oct-trees: each arm holds a solid as its name says, and the verdict follows the numbers."""

import numpy as np
import pytest

from dlcore.data.solids import Solid, occupancy_grid
from dlcore.vision3d.octree import octree_from_distance
from experiments.vision3d import octree as study

BALL = Solid("sphere", np.full(3, 0.6))


def test_each_arm_has_its_bits_and_holds_the_solid():
    voxels = occupancy_grid(BALL, 16)
    middle = (np.arange(16) + 0.5) / 8 - 1
    centers = np.stack(np.meshgrid(middle, middle, middle, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
    nodes = octree_from_distance(BALL.signed_distance, 4)
    # 1 bit a voxel, 2 bits a node, and 6 maps of 16² numbers from 0 to 16, of 5 bits
    bits = {"dense grid": 16**3, "oct-tree": 2 * len(nodes), "shape layer": 6 * 16**2 * 5}
    assert set(study.ARMS) == set(bits)
    for name, hold in study.ARMS.items():
        size, lookup = hold(BALL, 16)
        assert size == bits[name]
        np.testing.assert_array_equal(lookup(centers), voxels.reshape(-1))  # a ball is its own hull


def test_the_verdict_follows_the_numbers():
    dense = {16: (4096.0, 0.80), 32: (32768.0, 0.90)}
    tree = {16: (2000.0, 0.80), 32: (8000.0, 0.90), 64: (32000.0, 0.95)}
    verdict, holds, iou = study.judge({"dense grid": dense, "oct-tree": tree}, 32)
    assert holds
    assert iou == 0.95
    assert "In the 4.0 KiB of 32³ voxels, of IoU 0.9000, an oct-tree has the cells of 64³" in verdict
    assert "4.00×" in verdict
    dearer = tree | {64: (33000.0, 0.95)}  # then the finest tree in the budget is as coarse as the grid
    assert study.judge({"dense grid": dense, "oct-tree": dearer}, 32)[1:] == (False, 0.90)
    steeper = tree | {32: (6000.0, 0.90)}  # 32,000 / 6,000 = 5.3
    assert study.judge({"dense grid": dense, "oct-tree": steeper}, 32)[1] is False
    assert study.judge({"dense grid": dense, "oct-tree": tree | {64: (32000.0, 0.89)}}, 32)[1] is False


def test_bad_settings():
    with pytest.raises(ValueError, match="budget=12: not measured; allowed: 8, 16, 32, 64, 128"):
        study.study(budget=12)
