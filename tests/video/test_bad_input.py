"""Clips, flows and numbers that do not fit: each is named before anything is computed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.video.box_kalman import BoxState, init_box_state, update_box_state
from dlcore.video.correlation import convex_upsample, correlation_pyramid, lookup_correlation
from dlcore.video.flow_stack import flow_stack, follow, subtract_mean_flow
from dlcore.video.fusion import C3D, inflate, width_of
from dlcore.video.raft import sequence_loss
from dlcore.video.slowfast import SlowFast
from dlcore.video.tracking import byte_track, sort_track
from dlcore.video.trajectories import describe_trajectories, direction_votes, hof_votes, mbh_votes, subtract_camera
from dlcore.video.two_stream import ConvFusion, TwoStream, TwoStreamClips

BOXES, SCORES = np.float32([[[0, 0, 4, 4]]] * 3), np.full((3, 1), 0.9, np.float32)
MAPS, FLOW = np.ones((1, 4, 6, 3), np.float32), np.ones((1, 4, 6, 2), np.float32)
CLIP, STATE = jnp.ones((1, 3, 8, 8, 3)), BoxState(*(np.ones((1, 4), np.float32),) * 5)


def started(network, *inputs):
    return jax.eval_shape(network.init, jax.random.key(0), *inputs)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("boxes=", lambda: init_box_state(np.ones(3))),
        (r"boxes\[0\]=.*flipped", lambda: init_box_state(np.float32([[4, 0, 0, 4]]))),
        ("boxes=", lambda: update_box_state(STATE, np.ones(3))),
        (r"boxes\[0\]=.*flipped", lambda: update_box_state(STATE, np.float32([[0, 4, 4, 0]]))),
        ("state.mean=.*wrong shape", lambda: update_box_state(STATE, np.float32([[0, 0, 4, 4]] * 3))),
        ("first=", lambda: correlation_pyramid(MAPS[0], MAPS, 1)),
        ("second=", lambda: correlation_pyramid(MAPS, MAPS[:, :3], 1)),
        ("num_levels=0: does not fit", lambda: correlation_pyramid(MAPS, MAPS, 0)),
        ("num_levels=4: does not fit", lambda: correlation_pyramid(MAPS, MAPS, 4)),
        ("flow=", lambda: convex_upsample(MAPS, np.ones((1, 4, 6, 36)), 2)),
        ("logits=", lambda: convex_upsample(FLOW, np.ones((1, 4, 6, 9)), 2)),
        ("flow.shape=.*no flow fields", lambda: flow_stack(FLOW[0])),
        ("flow.shape=.*no flow fields", lambda: flow_stack(MAPS)),
        ("no such clips", lambda: started(C3D(3), jnp.ones((1, 16, 16, 16)))),
        ("no such clips", lambda: started(C3D(3), jnp.ones((1, 16, 15, 16, 3)))),
        ("flows=", lambda: sequence_loss(FLOW, FLOW)),
        ("target=", lambda: sequence_loss(FLOW[None], FLOW[:, :3])),
        ("valid=", lambda: sequence_loss(FLOW[None], FLOW, np.ones((1, 4, 5)))),
        ("gamma=-1", lambda: sequence_loss(FLOW[None], FLOW, gamma=-1.0)),
        (r"x.shape=\(1, 3, 8, 8, 3\)", lambda: started(SlowFast(2, 8, alpha=2), CLIP)),
        (r"x.shape=\(3, 8, 8, 3\)", lambda: started(SlowFast(2, 8, alpha=3), CLIP[0])),
        ("low_score=-1", lambda: byte_track(BOXES, SCORES, low_score=-1.0)),
        ("high_score=2", lambda: byte_track(BOXES, SCORES, high_score=2.0)),
        ("birth_score=2", lambda: byte_track(BOXES, SCORES, birth_score=2.0)),
        ("low_iou_threshold=2", lambda: byte_track(BOXES, SCORES, low_iou_threshold=2.0)),
        ("iou_threshold=2", lambda: byte_track(BOXES, SCORES, iou_threshold=2.0)),
        ("min_score=2", lambda: sort_track(BOXES, SCORES, min_score=2.0)),
        ("valid=", lambda: sort_track(BOXES, SCORES, np.ones((3, 2)))),
        ("boxes=", lambda: sort_track(BOXES[..., :3], SCORES)),
        ("max_age=-1", lambda: sort_track(BOXES, SCORES, max_age=-1)),
        ("max_tracks=0", lambda: sort_track(BOXES, SCORES, max_tracks=0)),
        (r"boxes\[0, 0, 0\]=nan", lambda: sort_track(BOXES * np.nan, SCORES)),
        (r"scores\[0, 0\]=1\.8", lambda: sort_track(BOXES, 2 * SCORES)),
        ("no area", lambda: sort_track(BOXES * [1, 1, 1, 0], SCORES)),
        ("bins=1", lambda: direction_votes(FLOW, 1)),
        ("bins=2.5", lambda: mbh_votes(FLOW, 2.5)),
        ("vectors=.*wrong shape", lambda: direction_votes(MAPS)),
        ("threshold=nan", lambda: hof_votes(FLOW, threshold=float("nan"))),
        ("spacing=0", lambda: subtract_camera(jax.random.key(0), FLOW, spacing=0)),
        ("num_hypotheses=0", lambda: subtract_camera(jax.random.key(0), FLOW, num_hypotheses=0)),
        ("threshold=0", lambda: subtract_camera(jax.random.key(0), FLOW, 0.0)),
        ("cells=1.5", lambda: describe_trajectories(np.ones((2, 4, 6)), FLOW, cells=(1.5, 1, 1))),
        (r"cells=\(1, 1\): 2 numbers", lambda: describe_trajectories(np.ones((2, 4, 6)), FLOW, cells=(1, 1))),
        ("flow=.*wrong shape", lambda: subtract_mean_flow(MAPS)),
        ("points=.*wrong shape", lambda: follow(FLOW, np.ones((2, 3)))),
        (r"points\[0, 0\]=nan", lambda: follow(FLOW, np.full((2, 2), np.nan))),
        ("pyramid: there is no volume", lambda: lookup_correlation((), FLOW, 1)),
        ("points=.*wrong shape|pyramid.*wrong shape", lambda: lookup_correlation((np.ones((1, 4, 5, 4, 6)),), FLOW, 1)),
        ("num_levels=1.5", lambda: correlation_pyramid(MAPS, MAPS, 1.5)),
        ("factor=0", lambda: convex_upsample(FLOW, MAPS, 0)),
        ("taps=3.5", lambda: inflate({}, 3.5)),
        ("fusion='sum'", lambda: width_of("sum", 100, 3, (2, 8, 8, 3))),
        (r"shape=\(2, 8, 8\)", lambda: width_of("early", 100, 3, (2, 8, 8))),
        ("parameters=0", lambda: width_of("early", 0, 3, (2, 8, 8, 3))),
        ("hidden=0", lambda: width_of("early", 100, 3, (2, 8, 8, 3), 0)),
        ("no flow fields", lambda: subtract_camera(jax.random.key(0), FLOW[0])),
        ("no flow fields", lambda: subtract_camera(jax.random.key(0), MAPS)),
        ("flow.shape=", lambda: describe_trajectories(np.ones((3, 4, 6)), FLOW)),
        ("flow.shape=", lambda: describe_trajectories(np.ones((1, 2, 4, 6)), FLOW)),
        ("spacing=0", lambda: describe_trajectories(np.ones((2, 4, 6)), FLOW, spacing=0)),
        ("spacing=5", lambda: describe_trajectories(np.ones((2, 4, 6)), FLOW, spacing=5)),
        ("0 down do not divide 4", lambda: describe_trajectories(np.ones((2, 4, 6)), FLOW, cells=(2, 0, 1))),
        ("2 in time do not divide 1", lambda: describe_trajectories(np.ones((2, 4, 6)), FLOW, cells=(2, 1, 2))),
        ("spatial.shape=", lambda: ConvFusion(1).apply({}, MAPS, MAPS)),
        (r"allowed: \[B, H, W, 2 L\]", lambda: started(TwoStream(3), CLIP[0, 0], CLIP[0])),
        (r"allowed: \[B, H, W, 2 L\]", lambda: started(TwoStream(3), CLIP[0], CLIP[0])),
        ("no such clips", lambda: started(TwoStreamClips(3), CLIP[0])),
        ("fusion='sum'", lambda: started(TwoStreamClips(3, fusion="sum"), CLIP)),
    ],
)
def test_an_argument_that_does_not_fit_is_named(message, call):
    with pytest.raises(ValueError, match=message):
        call()
