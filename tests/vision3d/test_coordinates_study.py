"""The study of coordinate systems: each arm has the targets of its name, both one measure, and the verdict turns."""

import numpy as np
import pytest
from flax import linen as nn
from jax import numpy as jnp

from dlcore.data.solid_images import DISTANCE, IMAGE_SOLIDS
from experiments.vision3d import coordinates as study


@pytest.fixture(scope="module")
def data():
    return study.datasets(("cylinder", "pyramid"), 32, 16, 32)


def test_unseen_kinds_are_tested_only(data):
    names = {name: len(arrays["image"]) for name, arrays in data.items()}
    assert names == {"train": 32, "seen kinds": 7, "unseen kinds": 7}
    seen = [kind for kind in IMAGE_SOLIDS if kind not in ("cylinder", "pyramid")]
    assert len(seen) == 5
    assert data["train"]["label"].max() == data["seen kinds"]["label"].max() == 4
    assert data["unseen kinds"]["label"].max() == 1
    # A cylinder's points on its caps have normals along its canonical axis z.
    cylinder = data["unseen kinds"]["label"] == 0
    axis = data["unseen kinds"]["rotation"][cylinder][..., 2]  # [N, 3], in the camera's axes
    upright = np.abs((data["unseen kinds"]["normals"][cylinder] * axis[:, None]).sum(-1))
    assert (((upright > 0.999) | (upright < 1e-3)).mean()) == 1


@pytest.mark.covers("TD-14")
def test_each_arm_has_the_targets_of_its_name(data):
    arrays = data["seen kinds"]
    view, canonical = (study.targets(arrays, frame) for frame in study.FRAMES)
    np.testing.assert_array_equal(view, arrays["points"])
    # Canonical axes are upright: x is the larger horizontal extent, for the camera's points it is any.
    center = np.array([0, 0, DISTANCE], np.float32)
    by_hand = np.stack([(p - center) @ r + center for p, r in zip(view, arrays["rotation"], strict=True)])
    np.testing.assert_allclose(canonical, by_hand, atol=1e-5)
    assert np.abs(canonical - view).max() > 0.5
    for frame, points in zip(study.FRAMES, (view, canonical), strict=True):
        np.testing.assert_allclose(study.in_view(points, arrays, frame), view, atol=1e-5)


def test_retrieval_gives_the_points_of_the_most_similar_image_in_the_arms_coordinates(data):
    same = {**data, "seen kinds": {**data["seen kinds"], "image": data["train"]["image"][[5, 2]]}}
    for frame in study.FRAMES:
        np.testing.assert_array_equal(
            study.retrieved(same, "seen kinds", frame), study.targets(data["train"], frame)[[5, 2]]
        )


@pytest.mark.slow
def test_training_predicts_the_points_of_each_split_and_learns_from_its_own_targets(data, monkeypatch):
    """A network whose output is a parameter: with every image in the batch it moves toward the mean of its targets."""

    class Constant(nn.Module):
        num_points: int

        @nn.compact
        def __call__(self, image):
            points = self.param("points", lambda key: jnp.zeros((self.num_points, 3)).at[:, 2].set(DISTANCE))
            return jnp.broadcast_to(points, (image.shape[0], self.num_points, 3))

    monkeypatch.setattr(study.point_generator, "PointGenerator", Constant)
    small = {name: {k: v[:4] for k, v in arrays.items()} for name, arrays in data.items()}
    flat = {**small["train"], "points": np.broadcast_to(np.array([1.0, 0, DISTANCE], np.float32), (4, 32, 3)).copy()}
    flat["rotation"] = np.broadcast_to(np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]], np.float32), (4, 3, 3)).copy()
    moved = {f: study.train({**small, "train": flat}, f, 0, 20, 4, 0.05) for f in study.FRAMES}
    for frame in study.FRAMES:
        assert {name: points.shape for name, points in moved[frame].items()} == dict.fromkeys(study.SPLITS, (4, 32, 3))
    # In the object's axes Rᵀ (1, 0, 0) = (0, 1, 0): R's first row.
    x, y = (moved["view"]["seen kinds"][0, 0, :2], moved["canonical"]["seen kinds"][0, 0, :2])
    assert x[0] > 0.2 > abs(x[1])
    assert y[1] > 0.2 > abs(y[0])


@pytest.mark.covers("TD-14")
def test_the_verdict_turns_when_the_arms_are_swapped():
    unseen = {"view": np.array([0.02, 0.03]), "canonical": np.array([0.04, 0.05])}
    seen = {"view": np.array([0.02, 0.02]), "canonical": np.array([0.01, 0.01])}
    retrieval = {split: dict.fromkeys(study.FRAMES, 0.06) for split in study.SPLITS}
    result = study.report({"seen kinds": seen, "unseen kinds": unseen}, retrieval)
    assert result.holds
    assert (
        "unseen kinds: 0.0250 in view coordinates, 0.0450 in canonical ones; on seen kinds 0.0200 and" in result.verdict
    )
    np.testing.assert_array_equal(result.headline.values, unseen["view"])
    assert result.headline.baseline == (pytest.approx(0.045), "canonical coordinates", "lower")
    swapped = {"view": unseen["canonical"], "canonical": unseen["view"]}
    assert not study.report({"seen kinds": seen, "unseen kinds": swapped}, retrieval).holds
    one = {**unseen, "canonical": np.array([0.04, 0.029])}
    assert not study.report({"seen kinds": seen, "unseen kinds": one}, retrieval).holds, "every seed must agree"


def test_bad_settings():
    with pytest.raises(ValueError, match="unseen='torus': unknown; allowed: box"):
        study.study(unseen=("torus",))
