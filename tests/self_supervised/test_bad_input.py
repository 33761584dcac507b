"""Arguments of parts of self-supervised learning that do not fit: each is named before anything is computed."""

import jax
import numpy as np
import pytest

from dlcore.self_supervised.audio_visual import correspondence
from dlcore.self_supervised.beit import patch_codes
from dlcore.self_supervised.byol import byol_losses
from dlcore.self_supervised.clip import class_vectors
from dlcore.self_supervised.cross_channel import hidden_channel, remove_channel
from dlcore.self_supervised.data2vec import mean_of_layers
from dlcore.self_supervised.deep_cluster import cluster, split_largest, whiten
from dlcore.self_supervised.dino import dino_losses, updated_center
from dlcore.self_supervised.dinov2_objective import koleo_losses
from dlcore.self_supervised.fill_in import random_square
from dlcore.self_supervised.ijepa import target_block_losses
from dlcore.self_supervised.inpainting import hole
from dlcore.self_supervised.jigsaw import jigsaw, order_count
from dlcore.self_supervised.mae import mean_patch_loss, patch_targets
from dlcore.self_supervised.moco import enqueue
from dlcore.self_supervised.networks import encode_views
from dlcore.self_supervised.nnclr import nearest_neighbors
from dlcore.self_supervised.outpainting import crop_alone
from dlcore.self_supervised.patch_masks import block_shapes, context_and_targets, mask_count, random_block, random_mask
from dlcore.self_supervised.patch_predictors import masked_patch_mean, normalize_features
from dlcore.self_supervised.pieces import check_grid, cut_pieces, distant_orders
from dlcore.self_supervised.prototypes import (
    centered_targets,
    log_probabilities,
    sinkhorn,
    sinkhorn_targets,
    soft_cross_entropy,
)
from dlcore.self_supervised.relative_patch import relative_patch
from dlcore.self_supervised.rotation import rotation
from dlcore.self_supervised.simmim import visible_mean
from dlcore.self_supervised.simsiam import simsiam_losses
from dlcore.self_supervised.super_resolution_pretext import shrink_and_enlarge
from dlcore.self_supervised.swav import swav_codes
from dlcore.self_supervised.token_distillation import Targets, token_losses
from dlcore.self_supervised.tube_masks import block_tubes, tube_noise
from dlcore.self_supervised.unrotation import rotate_image
from dlcore.self_supervised.video_mae import tubelet_targets
from dlcore.self_supervised.views import alignment, crops, multi_crops, two_views
from dlcore.self_supervised.vjepa import masked_tube_losses

KEY, KEYS = jax.random.key(0), jax.random.split(jax.random.key(0), 2)
TWO, THREE, PAIRS, IMAGE = (np.ones(shape, np.float32) for shape in (2, 3, (3, 2), (4, 4, 3)))
PATCHES, TOKENS, IMAGES = (np.ones(shape, np.float32) for shape in ((2, 3, 4), (2, 2, 3, 4), (2, 4, 4, 3)))
CLIP = {"clip": np.ones((4, 2, 2, 1), np.float32), "sound": np.ones((3, 2))}

CASES = {
    "shift of a sound": (lambda: correspondence(0), "shift=0: out of range; allowed: at least 1"),
    "frames of a sound": (lambda: correspondence(1)(KEY, CLIP), "sound: 3 frames; allowed: 4, as the clip"),
    "image without a batch": (lambda: patch_codes(None, {}, IMAGE, (2, 2)), r"images=float32\[4, 4, 3\]: wrong shape"),
    "grid of codes": (lambda: patch_codes(None, {}, IMAGES, (2, 2, 2)), r"grid=\(2, 2, 2\): wrong axes"),
    "one target": (lambda: byol_losses(PAIRS, PAIRS[:1]), r"targets=float32\[1, 2\]: wrong shape"),
    "one projection": (lambda: simsiam_losses(PAIRS, PAIRS[:1]), r"projections=float32\[1, 2\]: wrong shape"),
    "no prompt": (lambda: class_vectors(None, None, np.ones((2, 0, 3), int)), r"prompts=\[2, 0, 3\]: none"),
    "words": (lambda: class_vectors(None, None, PATCHES), r"prompts=float32\[2, 3, 4\]: wrong shape or dtype"),
    "half a channel": (lambda: remove_channel(IMAGE, 0.5), "channel=0.5: no whole number"),
    "channel": (lambda: hidden_channel(IMAGE, 3), "channel=3: of images of 3 channels"),
    "layers": (lambda: mean_of_layers([PAIRS] * 4, 2.5), "top_layers=2.5: no whole number"),
    "no feature": (lambda: whiten(PAIRS[:0], 2), "examples=0: out of range"),
    "component": (lambda: whiten(PAIRS, -1), "dims=-1: out of range; allowed: at least 1"),
    "feature": (lambda: whiten(PAIRS * np.inf, 2), r"features\[0, 0\]=inf: not finite"),
    "cluster": (lambda: split_largest(PAIRS, np.array([0, 1, 2]), 2), r"clusters\[2\]=2: out of range"),
    "members": (lambda: split_largest(PAIRS, np.array([0, 1]), 2), r"clusters=int32\[2\]: wrong shape"),
    "more clusters": (
        lambda: split_largest(PAIRS, np.zeros(3, int), 4),
        "num_clusters=4: out of range; allowed: 1 to 3",
    ),
    "clusters": (lambda: cluster(KEY, PAIRS, -1), "num_clusters=-1: too small; allowed: at least 1"),
    "center": (lambda: updated_center(TWO[:1], np.ones((2, 3, 2)), THREE), r"logits=float32\[2, 3, 2\]: wrong shape"),
    "momentum": (lambda: updated_center(TWO, np.ones((2, 3, 2)), THREE, 1.5), "momentum=1.5: out of range"),
    "center of a teacher": (lambda: dino_losses(PATCHES, PATCHES, TWO), r"center=float32\[2\]: wrong shape"),
    "neighbors": (lambda: koleo_losses(PAIRS, -THREE), r"mask\[0\]=-1: no mask"),
    "height": (lambda: random_square(KEY, 0, 4, 0.5), "height=0: out of range; allowed: at least 1"),
    "hole": (lambda: hole(KEY, IMAGE[..., 0]), r"image=float32\[4, 4\]: wrong shape"),
    "crop": (lambda: crop_alone(KEY, IMAGE, 1.5), "fraction=1.5: out of range"),
    "targets of blocks": (
        lambda: target_block_losses(TOKENS, PATCHES[:1], np.ones((2, 2, 3), bool)),
        r"target=float32\[1, 3, 4\]: wrong shape",
    ),
    "orders": (lambda: order_count(2, 0), "orders=0: out of range; allowed: at least 2"),
    "orders of a puzzle": (lambda: jigsaw(orders=2.5), "orders=2.5: no whole number"),
    "patches": (lambda: patch_targets(IMAGES), r"patches=float32\[2, 4, 4, 3\]: wrong shape"),
    "mask of patches": (lambda: mean_patch_loss(PATCHES, TWO[:, None]), r"masked=float32\[2, 1\]: wrong shape"),
    "pointer": (lambda: enqueue(PAIRS, -1, PAIRS[:1]), "pointer=-1: out of range"),
    "no view": (lambda: encode_views(None, len, None, None, []), "views: none"),
    "query": (lambda: nearest_neighbors(PAIRS, PAIRS * np.nan), r"queries\[0, 0\]=nan: not finite"),
    "empty queue": (lambda: nearest_neighbors(PAIRS[:0], PAIRS), "keys=0: out of range; allowed: at least 1"),
    "ratio of sides": (lambda: block_shapes((8, 8), (0.1, 0.2), (-1.0, 1.5)), r"aspect=\(-1.0, 1.5\): no range"),
    "no shares": (lambda: block_shapes((8, 8), None), "scale=None: no number"),
    "three shares": (lambda: block_shapes((8, 8), (0.1, 0.2, 0.3)), r"scale=\(0.1, 0.2, 0.3\): no range"),
    "half a row": (lambda: block_shapes((8.5, 8), (0.1, 0.2)), "rows=8.5: no whole number"),
    "block": (lambda: random_block(KEY, (2, 2), np.array([[1, 3]])), r"width\[0\]=3: out of range; allowed: 1 to 2"),
    "blocks": (lambda: context_and_targets(KEY, (8, 8), 0), "count=0: out of range"),
    "share of patches": (lambda: mask_count(4, np.nan), "mask_ratio=nan: out of range; allowed: 0 to 1"),
    "half a patch": (lambda: mask_count(4.5, 0.5), "patches=4.5: no whole number"),
    "grid of a mask": (lambda: random_mask(KEY, (4,), 0.5), r"grid=\(4,\): wrong axes; allowed: \(rows, columns\)"),
    "variance": (lambda: normalize_features(PAIRS, -1.0), "epsilon=-1: out of range"),
    "masked patches": (lambda: masked_patch_mean(PAIRS, PAIRS[:1] > 0), r"masked=bool\[1, 2\]: wrong shape"),
    "cells": (lambda: check_grid(8, 0, 0, 0), "grid=0: out of range"),
    "gap": (lambda: check_grid(8, 2, -1, 0), "gap=-1: out of range"),
    "gray image": (lambda: cut_pieces(KEY, IMAGE[..., 0], 2), r"image=float32\[4, 4\]: wrong shape"),
    "no orders": (lambda: distant_orders(4, None), "orders=None: no whole number"),
    "pieces": (lambda: distant_orders(2.5, 2), "pieces=2.5: no whole number"),
    "temperature": (lambda: log_probabilities(PAIRS, 0.0), "temperature=0: out of range; allowed: above 0"),
    "targets": (lambda: soft_cross_entropy(PAIRS[:, :1], PAIRS), r"targets=\[3, 1\]: wrong shape; allowed: \[..., 2\]"),
    "center of scores": (lambda: centered_targets(PAIRS, TWO[:1], 0.1), r"center=float32\[1\]: wrong shape"),
    "iterations": (lambda: sinkhorn(PAIRS, 0.1, 2.5), "iterations=2.5: no whole number"),
    "mask of scores": (lambda: sinkhorn(PAIRS, mask=-THREE), r"mask\[0\]=-1: no mask"),
    "mask of views": (lambda: sinkhorn_targets(PATCHES, 0.1, 3, TWO[:, None]), r"mask=float32\[2, 1\]: wrong shape"),
    "gap of a neighbor": (lambda: relative_patch(gap=0.5), "gap=0.5: no whole number"),
    "turn": (lambda: rotation(KEY, {"image": PAIRS}), r"image=float32\[3, 2\]: wrong shape"),
    "hidden patches": (lambda: visible_mean(PATCHES, np.ones((2, 3), int)), "masked=.*: no mask; allowed: bool"),
    "factor": (lambda: shrink_and_enlarge(IMAGE, 0), "factor=0: out of range"),
    "queue of a view": (lambda: swav_codes(PATCHES, PATCHES[:1], THREE), r"queue_scores=float32\[1, 3, 4\]: wrong"),
    "patches of a teacher": (
        lambda: token_losses(Targets(None, None, TOKENS[:1], {}), None, TOKENS, np.ones((2, 2, 3), bool)),
        r"patch_logits=float32\[2, 2, 3, 4\]: wrong shape",
    ),
    "times": (lambda: tube_noise(KEY, (0, 2, 2)), "times=0: out of range"),
    "tubes": (lambda: block_tubes(KEY, (2, 8, 8), 0, (0.1, 0.2)), "count=0: out of range"),
    "angles": (lambda: rotate_image(KEY, IMAGE, -1), "num_angles=-1: out of range"),
    "channels": (lambda: tubelet_targets(PATCHES, 3), "channels=3: not of tubelets of 4 numbers"),
    "keys of views": (lambda: two_views(None, len, KEYS[:1], IMAGES), "keys=.*: wrong shape"),
    "no crop": (lambda: crops(None, KEYS, IMAGES, 0), "count=0: out of range"),
    "small crops": (lambda: multi_crops(None, None, -1, {}, KEY), "local_crops=-1: out of range"),
    "aligned views": (lambda: alignment(PAIRS, PAIRS[:1], THREE), r"b=float32\[1, 2\]: wrong shape"),
    "targets of tubes": (
        lambda: masked_tube_losses(PATCHES, PATCHES[..., :1], np.ones((2, 3), bool)),
        r"target=float32\[2, 3, 1\]: wrong shape",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_named(case):
    call, message = CASES[case]
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
