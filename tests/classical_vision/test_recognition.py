"""Uses of features: an object among others, flow and tracks of keypoints with known motion."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.classical_vision import recognition
from dlcore.classical_vision.ransac import Consensus
from dlcore.classical_vision.recognition import feature_flow, recognize, track_keypoints
from dlcore.classical_vision.sift import Keypoints


def keypoints(points, descriptors, mask=None):
    count = points.shape[:-1]
    mask = np.ones(count, bool) if mask is None else mask
    fill = np.ones(count, np.float32)
    return Keypoints(points.astype(np.float32), fill, fill, fill, mask, descriptors.astype(np.float32))


@pytest.mark.slow
@pytest.mark.covers("CL-13")
def test_an_object_is_recognized_by_its_consistent_matches():
    """Object 1 appears doubled and shifted by (5, 3), 12 of its 16 points; the rest of the image is unknown."""
    rng = np.random.default_rng(0)
    points, descriptors = rng.uniform(0, 50, (3, 16, 2)), rng.normal(size=(3, 16, 8))
    image = keypoints(
        np.concatenate([2 * points[1, :12] + [5, 3], rng.uniform(0, 100, (8, 2))]),
        np.concatenate([descriptors[1, :12] + 0.05 * rng.normal(size=(12, 8)), rng.normal(size=(8, 8))]),
    )
    run = jax.jit(lambda objects, image: recognize(jax.random.key(0), objects, image, 8, num_hypotheses=50))
    found = run(keypoints(points, descriptors), image)
    assert found.index == 1
    assert found.counts[1] >= 12
    assert max(found.counts[0], found.counts[2]) < 8
    mapped = np.asarray(found.homographies[1]) @ np.append(points[1, 14], 1)
    np.testing.assert_allclose(mapped[:2] / mapped[2], 2 * points[1, 14] + [5, 3], atol=1)
    # Of an image that shows none of them, none is recognized.
    unknown = image._replace(descriptors=rng.normal(size=(20, 8)).astype(np.float32))
    assert run(keypoints(points, descriptors), unknown).index == -1


@pytest.mark.covers("CL-13", "CL-14")
def test_flow_and_tracks_of_keypoints():
    """Six keypoints move by (3, 1) a frame, listed in another order in each; the fourth is hidden from frame 2 on."""
    rng = np.random.default_rng(0)
    points, descriptors = rng.uniform(0, 40, (6, 2)), 5 * rng.normal(size=(6, 8))
    orders = [np.arange(6), rng.permutation(6), rng.permutation(6), rng.permutation(6)]
    frames = keypoints(
        np.stack([points[order] + np.array([3, 1]) * t for t, order in enumerate(orders)]),
        np.stack([descriptors[order] for order in orders]),
        np.stack([(order != 3) | (t < 2) for t, order in enumerate(orders)]),
    )
    first, second = (Keypoints(*(x[t] for x in frames)) for t in (0, 1))
    flow, mask = jax.jit(feature_flow)(first, second)
    assert np.asarray(mask).all()
    np.testing.assert_allclose(flow, np.broadcast_to([3, 1], (6, 2)), atol=1e-5)
    # The fourth, hidden in one of the two, has no match.
    for one, other in ((1, 2), (2, 1)):
        a, b = (Keypoints(*(x[t] for x in frames)) for t in (one, other))
        flow, mask = jax.jit(feature_flow)(a, b)
        np.testing.assert_array_equal(mask, orders[one] != 3)
        np.testing.assert_allclose(flow, (orders[one] != 3)[:, None] * np.array([3, 1]) * (other - one), atol=1e-5)
    tracks = jax.jit(track_keypoints)(frames)
    expected = np.ones((4, 6), bool)
    expected[2:, 3] = False
    np.testing.assert_array_equal(tracks.mask, expected)
    motion = np.asarray(tracks.points) - points - np.arange(4)[:, None, None] * np.array([3, 1])
    np.testing.assert_allclose(motion[expected], 0, atol=1e-4)


def test_a_jump_ends_a_track():
    """(3, 4) from one frame to the next is 5 pixels, which may be; (6, 8) is not, even if it comes back."""
    descriptors = np.broadcast_to(5 * np.eye(3), (3, 3, 3))
    points = np.array([[[0, 0], [9, 9], [20, 0]], [[3, 4], [15, 17], [20, 5]], [[0, 0], [9, 9], [20, 0]]])
    run = jax.jit(lambda frames: track_keypoints(frames, max_motion=5))
    tracks = run(keypoints(points, descriptors))
    np.testing.assert_array_equal(tracks.mask, [[True, True, True], [True, False, True], [True, False, True]])
    np.testing.assert_array_equal(tracks.points, points * np.asarray(tracks.mask)[..., None])


@pytest.mark.slow
def test_matches_that_count_are_given_to_ransac_and_the_threshold_is_enough(monkeypatch):
    """Of each object two keypoints match: a third of the object, and of the image, does not count."""
    calls = []

    def ransac(key, source, target, distance, num_hypotheses, mask):
        calls.append((key, distance, num_hypotheses))
        return Consensus(source.sum() + target.sum(), mask, 3 * mask.sum())

    monkeypatch.setattr(recognition, "ransac_homography", ransac)
    points = np.arange(16.0).reshape(2, 4, 2)
    descriptors = np.broadcast_to(5 * np.eye(4), (2, 4, 4))
    objects = keypoints(points, descriptors, np.array([[True, True, True, False], [True, False, False, False]]))
    image = keypoints(points[0], descriptors[0], np.array([True, True, False, True]))
    for threshold, index in ((5, 0), (6, 0), (7, -1)):
        found = jax.jit(lambda a, b, threshold=threshold: recognize("key", a, b, threshold, 2.5, 0.7, 9))(
            objects, image
        )
        np.testing.assert_array_equal(found.counts, [6, 3])
        assert found.index == index
    assert calls == [("key", 2.5, 9)] * 3


def test_bad_input_is_named():
    empty = keypoints(np.zeros((2, 5, 2)), np.zeros((2, 5, 8)))
    with pytest.raises(ValueError, match="threshold=4: any four matches fit a homography; allowed: at least 5"):
        recognize(jax.random.key(0), empty, Keypoints(*(jnp.asarray(x[0]) for x in empty)), 4)
