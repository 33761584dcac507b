"""Boxes, labels, scores and settings of detectors that do not fit: each is named before anything is computed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.detection import (
    center_net,
    detr,
    faster_rcnn,
    fcos,
    keypoint_rcnn,
    mask_rcnn,
    query_losses,
    retinanet,
    rpn,
    single_stage,
    ssd,
    yolo,
    yolo_anchor_free,
)
from dlcore.detection.anchors import Anchors, Grid, best_possible_recall, match_anchors
from dlcore.detection.cascade_rcnn import mean_outputs, refine_boxes, stage_weights
from dlcore.detection.denoising import Targets, noise_boxes, of_image_fractions
from dlcore.detection.dense import (
    Candidates,
    flatten_levels,
    head_conv,
    select,
    topk_by_class,
    topk_by_level,
    tower,
)
from dlcore.detection.distribution_refinement import shift_sides, weighting_function
from dlcore.detection.dynamic_assignment import sim_ota_assignment, task_aligned_assignment
from dlcore.detection.fast_rcnn import window_proposals
from dlcore.detection.faster_rcnn import BoxOutputs, crop_regions
from dlcore.detection.fpn import add_extra_levels, assign_levels, upscale
from dlcore.detection.localization import box_distance
from dlcore.detection.owl_vit import patch_logits
from dlcore.detection.padding import clip_sizes, pixel_mask, token_positions, zero_padding
from dlcore.detection.pose import heat_map_targets
from dlcore.detection.query_blocks import inverse_sigmoid
from dlcore.detection.rcnn import warp_regions
from dlcore.detection.sampling import Sampled, balanced_sample, sample_proposals
from dlcore.detection.selective_search import (
    color_space,
    merge_regions,
    propose,
    random_boxes,
    region_histograms,
    selective_search,
)
from dlcore.detection.sliding_window import all_boxes, count_boxes, score_crops, window_boxes

KEY, NAN = jax.random.key(0), float("nan")
BOXES, FLIPPED = np.float32([[0, 0, 4, 4], [2, 2, 6, 8]]), np.float32([[4, 0, 0, 4], [2, 2, 6, 8]])
LABELS, VALID = np.array([0, 1]), np.array([True, True])
GRID, ANCHORS = Grid.of([(2, 2)], (8, 8)), Anchors.of([(2, 2)], (8, 8), (1.0,), (1.0,))
MAPS, LOGITS, DELTAS = np.zeros((1, 4, 4, 8), np.float32), np.zeros((4, 2), np.float32), np.zeros((4, 4), np.float32)
CANDIDATES = Candidates(BOXES, np.float32([0.9, 0.8]), LABELS, np.zeros(2, int))
KEEP = {"score_thresh": 0.1, "nms_thresh": 0.5, "detections_per_img": 3}
TARGETS = Targets(BOXES[None] / 8, LABELS[None], VALID[None])
IMAGE, REGIONS = np.zeros((4, 6, 3), np.uint8), np.repeat([[0, 0, 0, 1, 1, 1]], 4, 0)
IOU = np.float32([[0.5, 0.1, 0.2, 0], [0, 0, 0.4, 0.6]])
REGION_OUTPUTS = BoxOutputs(np.zeros((2, 3), np.float32), np.zeros((2, 3, 4), np.float32))
SAMPLED = Sampled(BOXES, np.zeros(2, int), np.array([1, 2]), VALID)
CELLS = yolo.Cells((2, 2), (8, 8), 1)
QUERIES = detr.Outputs(np.zeros((1, 4, 3), np.float32), np.full((1, 4, 4), 0.5, np.float32))
SIDES = np.float32([8, 8, 8, 8])
CENTERS = center_net.Outputs(*(np.zeros((2, 2, 2), np.float32) for _ in range(3)))
ASSIGNERS = (task_aligned_assignment, sim_ota_assignment)
POINTS = np.float32([[[1, 1, 1]], [[3, 3, 1]]])


def losses(name, boxes=BOXES, labels=LABELS, valid=VALID, **settings):
    """Losses of a detector of two classes on a map of 2 x 2."""
    anchor_outputs = {"retinanet": 2, "single_stage": 3, "ssd": 3}
    if name in anchor_outputs:
        module = {"retinanet": retinanet, "single_stage": single_stage, "ssd": ssd}[name]
        outputs = module.Outputs(np.zeros((4, anchor_outputs[name]), np.float32), DELTAS)
        return module.image_losses(outputs, ANCHORS, boxes, labels, valid, **settings)
    if name == "rpn":
        return rpn.image_losses(KEY, rpn.Outputs(LOGITS[:, 0], DELTAS), ANCHORS, boxes, valid, **settings)
    if name == "fcos":
        outputs = fcos.Outputs(LOGITS, DELTAS, LOGITS[:, 0])
        return fcos.image_losses(outputs, GRID, boxes, labels, valid, **settings)
    if name == "yolo":
        outputs = yolo.Outputs(np.zeros((4, 7), np.float32))
        return yolo.image_losses(outputs, CELLS, boxes, labels, valid, **settings)
    if name == "center_net":
        return center_net.image_losses(CENTERS, GRID, boxes, labels, valid, **settings)
    if name == "yolo_anchor_free":
        outputs = yolo_anchor_free.Outputs(LOGITS, np.zeros((4, 4, 3), np.float32))
        return yolo_anchor_free.image_losses(outputs, GRID, boxes, labels, valid, **settings)
    module = {"detr": detr, "query_losses": query_losses}[name]
    classes = 3 if name == "detr" else 2
    outputs = detr.Outputs(QUERIES.logits[..., :classes], QUERIES.boxes)
    return module.image_losses(outputs, SIDES, boxes, labels, valid, **settings)


DETECTORS = (
    "retinanet",
    "single_stage",
    "ssd",
    "rpn",
    "fcos",
    "yolo",
    "center_net",
    "yolo_anchor_free",
    "detr",
    "query_losses",
)


@pytest.mark.parametrize("detector", DETECTORS)
def test_true_boxes_that_do_not_fit_are_named(detector):
    with pytest.raises(ValueError, match=r"boxes\[0\]=.*flipped"):
        losses(detector, FLIPPED)
    with pytest.raises(ValueError, match=r"boxes\[0, 0\]=nan"):
        losses(detector, BOXES * NAN)
    with pytest.raises(ValueError, match=r"valid=.*wrong shape"):
        losses(detector, valid=VALID[:1])
    if detector != "rpn":
        with pytest.raises(ValueError, match=r"labels\[1\]=2: out of range; allowed: 0 to 1"):
            losses(detector, labels=np.array([0, 2]))
        with pytest.raises(ValueError, match=r"labels=.*wrong shape"):
            losses(detector, labels=LABELS[:1])
        with pytest.raises(ValueError, match=r"labels=.*wrong shape or dtype"):
            losses(detector, labels=LABELS + 0.5)


CASES = [
    (r"sizes\[0\]=\(0, 2\): no size", lambda: Grid.of([(0, 2)], (8, 8))),
    ("sizes: empty", lambda: Grid.of([], (8, 8))),
    (r"image=\(8, 8.5\): no size", lambda: Grid.of([(2, 2)], (8, 8.5))),
    (r"image=\(8,\): no size", lambda: Anchors.of([(2, 2)], (8,))),
    ("regress_range=nan", lambda: GRID.bounds(NAN)),
    (r"scales\[0\]=nan", lambda: Anchors.of([(2, 2)], (8, 8), (NAN,))),
    ("scales=.*no number", lambda: Anchors.of([(2, 2)], (8, 8), ("a",))),
    ("scales=None: no number", lambda: Anchors.of([(2, 2)], (8, 8), None)),
    ("level 1 is larger", lambda: Grid.of([(2, 2), (4, 4)], (8, 8))),
    ("iou: rows of unequal length", lambda: match_anchors([[0.5, 0.1], [0.2]])),
    ("box_mask=.*no number", lambda: best_possible_recall(BOXES, BOXES[None], None)),
    ("boxes=None: no number", lambda: losses("retinanet", boxes=None)),
    ("labels=None: no classes", lambda: losses("retinanet", labels=None)),
    (r"counts\[1\]=-1", lambda: topk_by_level(LOGITS, DELTAS, (5, -1), 2)),
    (r"size=\(8, nan\)", lambda: select(CANDIDATES, (8, NAN), **KEEP)),
    ("score_thresh='0.5'", lambda: select(CANDIDATES, (8, 8), **KEEP | {"score_thresh": "0.5"})),
    ("images: rows of unequal length", lambda: propose([IMAGE, IMAGE[:, :3]])),
    ("scales=.*wrong shape", lambda: selective_search(IMAGE, scales=50.0)),
    (r"size=\(2, 2\): smaller than levels\[0\]", lambda: crop_regions([MAPS], BOXES[None], (2, 2), 2)),
    (r"keypoints\[0, 0, 0\]=nan", lambda: keypoint_rcnn.keypoint_targets(NAN * POINTS, BOXES)),
    (r"keypoints\[0, 0, 2\]=nan", lambda: heat_map_targets(POINTS * [1, 1, NAN], (8, 8), (4, 4))),
    (r"targets.labels\[0, 1\]=1", lambda: noise_boxes(KEY, TARGETS, 1, 4)),
    (r"cells.grid=\(0, 2\)", lambda: yolo.assign_cells(yolo.Cells((0, 2), (8, 8), 1), BOXES, VALID)),
    ("cells.boxes_per_cell=0", lambda: yolo.decode(yolo.Outputs(np.zeros((4, 7))), yolo.Cells((2, 2), (8, 8), 0))),
    (r"aspect_ratios\[0\]=", lambda: ssd.default_boxes([(2, 2)], (8, 8), (0.1, 0.2), [2.0])),
    (r"distances\[0\]=nan", lambda: fcos.centerness(np.full(4, NAN))),
    (r"iou\[0, 0\]=5", lambda: match_anchors(10 * IOU)),
    (r"iou\[0, 0\]=nan", lambda: match_anchors(NAN * IOU)),
    ("iou: no true box", lambda: match_anchors(IOU[:0])),
    ("fg_iou_thresh=2", lambda: match_anchors(IOU, 2.0)),
    ("bg_iou_thresh=nan", lambda: match_anchors(IOU, 0.5, NAN)),
    ("bg_iou_thresh=0.6: out of range; allowed: 0 to 0.5", lambda: match_anchors(IOU, 0.5, 0.6)),
    ("anchors=.*wrong shape", lambda: best_possible_recall(BOXES[:, :3], BOXES[None], VALID[None])),
    ("anchors: there are none", lambda: best_possible_recall(BOXES[:0], BOXES[None], VALID[None])),
    (r"anchors\[0\]=.*flipped", lambda: best_possible_recall(FLIPPED, BOXES[None], VALID[None])),
    ("box_mask=.*wrong shape", lambda: best_possible_recall(BOXES, BOXES[None], VALID)),
    (r"box_mask\[0, 0\]=-7", lambda: best_possible_recall(BOXES, BOXES[None], np.full((1, 2), -7))),
    ("iou_thresh=nan", lambda: best_possible_recall(BOXES, BOXES[None], VALID[None], NAN)),
    ("stage=-1", lambda: stage_weights(-1)),
    ("stage=1.5: no whole number", lambda: refine_boxes(REGION_OUTPUTS, BOXES, (8, 8), 1.5)),
    ("boxes=.*wrong shape", lambda: refine_boxes(REGION_OUTPUTS, BOXES[:1], (8, 8), 1)),
    ("outputs: there are none", lambda: mean_outputs([])),
    (
        r"outputs\[1\].logits=.*wrong shape",
        lambda: mean_outputs([REGION_OUTPUTS, REGION_OUTPUTS._replace(logits=REGION_OUTPUTS.logits[:1])]),
    ),
    ("num_bins=4.5", lambda: weighting_function(4.5)),
    ("bound=nan", lambda: weighting_function(4, bound=NAN)),
    ("curvature=0", lambda: weighting_function(4, curvature=0.0)),
    ("side_logits=.*wrong shape", lambda: shift_sides(BOXES[0], np.zeros((1, 5)), np.arange(5.0))),
    (r"size=\(8, 8, 3\)", lambda: window_proposals((8, 8, 3))),
    ("strides=0", lambda: window_proposals((32, 32), (0, 8))),
    (r"strides=\(8, 24\): do not double", lambda: window_proposals((48, 48), (8, 24))),
    ("strides=.*do not double", lambda: window_proposals((32, 32), ())),
    (r"size=\(0, 4\)", lambda: upscale(MAPS, (0, 4))),
    ("highest=1", lambda: assign_levels(BOXES, 2, 1)),
    ("lowest=2.5", lambda: assign_levels(BOXES, 2.5, 3)),
    ("canonical_level=nan", lambda: assign_levels(BOXES, 2, 3, canonical_level=NAN)),
    ("canonical_size=0", lambda: assign_levels(BOXES, 2, 3, 0.0)),
    ("levels: there are none", lambda: add_extra_levels([], "pool", 4)),
    ("channels=0", lambda: add_extra_levels([MAPS], "p6p7", 0)),
    ("image_size=.*wrong shape", lambda: pixel_mask(np.ones((2, 1), int), (4, 4))),
    (r"image_size\[0, 0\]=-7", lambda: pixel_mask(np.full((1, 2), -7), (4, 4))),
    (r"shape=\(4,\)", lambda: pixel_mask(np.ones((1, 2), int), (4,))),
    (r"stride=\(0, 1\)", lambda: pixel_mask(np.ones((1, 2), int), (4, 4), (0, 1))),
    (r"canvas=\(0, 8\)", lambda: token_positions((2, 2), (0, 8), 8, None)),
    (r"shape=\(2\.5, 2\)", lambda: token_positions((2.5, 2), (8, 8), 8, None)),
    ("images=.*wrong shape", lambda: zero_padding(MAPS[0], {})),
    ("image_size=.*wrong shape", lambda: zero_padding(MAPS, {"image_size": np.ones((2, 2), int)})),
    ("images=.*wrong shape", lambda: clip_sizes({}, MAPS[0])),
    ("rows=0", lambda: patch_logits(0, 2)),
    ("columns=2.5", lambda: patch_logits(2, 2.5)),
    ("epsilon=-1", lambda: patch_logits(2, 2, -1.0)),
    ("epsilon=nan", lambda: inverse_sigmoid(LOGITS, NAN)),
    ("image=.*not RGB", lambda: color_space(IMAGE / 255, "rgb")),
    ("max_proposals=0", lambda: selective_search(IMAGE, max_proposals=0)),
    ("min_size=1.5", lambda: selective_search(IMAGE, min_size=1.5)),
    ("seed=-1", lambda: selective_search(IMAGE, seed=-1)),
    ("sigma=.*inf", lambda: selective_search(IMAGE, sigma=np.inf)),
    ("spaces='lab': a word", lambda: selective_search(IMAGE, spaces="lab")),
    ("images=.*wrong shape", lambda: propose(IMAGE)),
    ("max_proposals=nan", lambda: propose(IMAGE[None], max_proposals=NAN)),
    ("labels=.*wrong shape", lambda: merge_regions(IMAGE / 255, REGIONS[:1])),
    (r"labels\[0, 0\]=-7", lambda: merge_regions(IMAGE / 255, REGIONS - 7)),
    ("labels: 1 is no region", lambda: region_histograms(IMAGE / 255, 2 * REGIONS)),
    (r"values\[0, 0, 0\]=2", lambda: region_histograms(IMAGE + 2.0, REGIONS)),
    ("empty; allowed: at least one pixel", lambda: region_histograms(np.zeros((0, 6, 3)), REGIONS[:0])),
    ("count=-1", lambda: random_boxes(-1, (8, 8))),
    ("smallest=6.5", lambda: random_boxes(2, (8, 8), 6.5)),
    ("seed=0.5", lambda: random_boxes(2, (8, 8), seed=0.5)),
    ("size=8: no size", lambda: random_boxes(2, 8)),
    (r"height, width=\(-1, 2\): no size", lambda: count_boxes(-1, 2)),
    (r"height, width=\(2, nan\): no size", lambda: all_boxes(2, NAN)),
    (r"windows\[0\]=\(4,\): no size", lambda: window_boxes((8, 8), [(4,)], 1)),
    ("stride=1.5", lambda: window_boxes((8, 8), [(4, 4)], 1.5)),
    (r"boxes\[0\]=.*flipped", lambda: score_crops(lambda x: x, MAPS[0], FLIPPED, (2, 2))),
    ("boxes: there are none", lambda: score_crops(lambda x: x, MAPS[0], BOXES[:0], (2, 2))),
    ("output_size=2: no size", lambda: score_crops(lambda x: x, MAPS[0], BOXES, 2)),
    ("batch_size=0", lambda: score_crops(lambda x: x, MAPS[0], BOXES, (2, 2), 0)),
    ("sampling_ratio=-1", lambda: score_crops(lambda x: x, MAPS[0], BOXES, (2, 2), sampling_ratio=-1)),
    (r"image=\(8,\)", lambda: ssd.default_boxes([(2, 2)], (8,), (0.1, 0.2), [[2.0]])),
    ("sizes: empty", lambda: ssd.default_boxes([], (8, 8), (0.1,), [])),
    ("scales=.*not positive", lambda: ssd.default_boxes([(2, 2)], (8, 8), (NAN, 0.2), [[2.0]])),
    ("steps=.*not positive", lambda: ssd.default_boxes([(2, 2)], (8, 8), (0.1, 0.2), [[2.0]], [0])),
    ("aspect_ratios=.*not positive", lambda: ssd.default_boxes([(2, 2)], (8, 8), (0.1, 0.2), [[0.0]])),
    ("valid=.*wrong shape", lambda: ssd.match_default_boxes(IOU, valid=VALID[:1])),
    ("iou_thresh=nan", lambda: ssd.match_default_boxes(IOU, NAN, valid=VALID)),
    ("outputs.cells=.*wrong shape", lambda: yolo.decode(yolo.Outputs(np.zeros((3, 7))), CELLS)),
    ("no class", lambda: yolo.decode(yolo.Outputs(np.zeros((4, 5))), CELLS)),
    ("valid=.*wrong shape", lambda: yolo.lost_objects(None, CELLS, BOXES, None, VALID[:1])),
    (r"boxes\[0, 0\]=nan", lambda: yolo.assign_cells(CELLS, NAN * BOXES, VALID)),
    ("lambda_noobj=-1", lambda: losses("yolo", lambda_noobj=-1.0)),
    ("lambda_coord=nan", lambda: losses("yolo", lambda_coord=NAN)),
    ("count=-1", lambda: single_stage.hardest(LOGITS[:, 0], VALID.repeat(2), -1)),
    (r"losses\[0\]=nan", lambda: single_stage.hardest(NAN * np.ones(4), VALID.repeat(2), 1)),
    ("neg_to_pos_ratio=-1", lambda: mine(neg_to_pos_ratio=-1.0)),
    ("min_positives=-1", lambda: mine(min_positives=-1)),
    (r"matched\[0\]=7: out of range; allowed: 0 to 1, of 2 true boxes, or -1, -2", lambda: mine([7, -1, -2, 0])),
    ("count=2.5", lambda: balanced_sample(KEY, VALID, ~VALID, 2.5, 0.5)),
    ("positive_fraction=2", lambda: balanced_sample(KEY, VALID, ~VALID, 2, 2.0)),
    (
        "proposal_mask=.*wrong shape",
        lambda: sample_proposals(KEY, BOXES, VALID[:1], BOXES, LABELS, VALID, count=2, positive_fraction=0.5),
    ),
    (
        r"labels\[0\]=-1",
        lambda: sample_proposals(KEY, BOXES, VALID, BOXES, LABELS - 1, VALID, count=2, positive_fraction=0.5),
    ),
    ("features=0", lambda: head_conv("head", 0)),
    ("num_convs=-1", lambda: tower("head", -1, 4)),
    ("channels=4.5", lambda: tower("head", 1, 4.5)),
    ("num_anchors=0", lambda: flatten_levels([MAPS], 0)),
    ("not of 3 anchors", lambda: flatten_levels([MAPS], 3)),
    ("topk_candidates=0", lambda: topk_by_level(LOGITS, DELTAS, (4,), 0)),
    ("topk_candidates=-1", lambda: topk_by_class(LOGITS, DELTAS, -1)),
    ("boxes=.*wrong shape", lambda: topk_by_class(LOGITS, DELTAS[:3])),
    (r"scores\[0\]=nan", lambda: select(CANDIDATES._replace(scores=NAN * np.ones(2)), (8, 8), **KEEP)),
    ("score_thresh=nan", lambda: select(CANDIDATES, (8, 8), **KEEP | {"score_thresh": NAN})),
    ("nms_thresh=50", lambda: select(CANDIDATES, (8, 8), **KEEP | {"nms_thresh": 50})),
    ("detections_per_img=0", lambda: select(CANDIDATES, (8, 8), **KEEP | {"detections_per_img": 0})),
    ("min_size=-1", lambda: select(CANDIDATES, (8, 8), **KEEP, min_size=-1.0)),
    ("within='boxes'", lambda: select(CANDIDATES, (8, 8), **KEEP, within="boxes")),
    ("num_blocks=3: no divisor; allowed: those of 2", lambda: select(CANDIDATES, (8, 8), **KEEP, num_blocks=3)),
    ("bbox_cost=-1", lambda: losses("query_losses", costs=query_losses.QueryCosts(bbox_cost=-1.0))),
    ("eos_coefficient=-1", lambda: losses("detr", weights=detr.LossWeights(eos_coefficient=-1.0))),
    ("classification='bce'", lambda: losses("query_losses", classification="bce")),
    ("box_weight=-1", lambda: losses("yolo_anchor_free", weights=yolo_anchor_free.YOLOWeights(box_weight=-1.0))),
    ("score_thresh=nan", lambda: detr.postprocess(QUERIES, SIDES, (8, 8), score_thresh=NAN, detections_per_img=3)),
    ("detections_per_img=0", lambda: query_losses.postprocess(QUERIES, SIDES, (8, 8), detections_per_img=0)),
    (r"sides\[?0?\]?=0", lambda: detr.postprocess(QUERIES, 0 * SIDES, (8, 8), detections_per_img=3)),
    ("sides=.*wrong shape", lambda: detr.postprocess(QUERIES, SIDES[:2], (8, 8), detections_per_img=3)),
    *(
        (message, lambda assigner=assigner, settings=settings: assign(assigner, **settings))
        for assigner in ASSIGNERS
        for message, settings in (("topk=0", {"topk": 0}), (r"labels\[1\]=7", {"labels": np.array([0, 7])}))
    ),
    ("alpha=-1", lambda: assign(task_aligned_assignment, alpha=-1.0)),
    ("beta=nan", lambda: assign(task_aligned_assignment, beta=NAN)),
    ("center_radius=-1", lambda: assign(sim_ota_assignment, center_radius=-1.0)),
    ("iou_cost=nan", lambda: assign(sim_ota_assignment, iou_cost=NAN)),
    ("center_sampling_radius=-1", lambda: fcos.match(GRID, BOXES, VALID, -1.0)),
    ("regress_range=0", lambda: fcos.match(GRID, BOXES, VALID, regress_range=0.0)),
    ("num_proposals=0", lambda: rpn.propose(None, ANCHORS, (8, 8), num_proposals=0)),
    ("min_overlap=0", lambda: center_net.gaussian_radius(np.ones((1, 2)), 0.0)),
    (r"sizes\[0, 0\]=-1", lambda: center_net.gaussian_radius(-np.ones((1, 2)))),
    ("num_classes=0", lambda: center_net.target_heat_map(GRID, BOXES, LABELS, VALID, 0)),
    (r"targets\[0, 0\]=2", lambda: center_net.heat_map_loss(LOGITS, LOGITS + 2)),
    ("targets=.*wrong shape", lambda: center_net.heat_map_loss(LOGITS, LOGITS[:1])),
    ("size_weight=-1", lambda: losses("center_net", size_weight=-1.0)),
    (
        "detections_per_img=2.5",
        lambda: center_net.postprocess(CENTERS, GRID, (8, 8), score_thresh=0.5, detections_per_img=2.5),
    ),
    ("size=0", lambda: keypoint_rcnn.keypoint_targets(POINTS, BOXES, 0)),
    ("boxes=.*wrong shape", lambda: keypoint_rcnn.keypoint_targets(POINTS, BOXES[:1])),
    (
        r"positions\[0, 0\]=16",
        lambda: keypoint_rcnn.image_losses(np.zeros((2, 4, 4, 1)), np.full((2, 1), 16), VALID[:, None], VALID),
    ),
    ("size=2.5", lambda: mask_rcnn.mask_targets(np.ones((2, 8, 8), bool), LABELS, BOXES, 2.5)),
    ("boxes=.*wrong shape", lambda: mask_rcnn.mask_targets(np.ones((2, 8, 8), bool), LABELS, BOXES[:1])),
    (r"classes\[1\]=9", lambda: mask_rcnn.image_losses(np.zeros((2, 4, 4, 3)), np.zeros((2, 4, 4)), np.array([0, 9]))),
    (r"labels\[1\]=9", lambda: mask_rcnn.probabilities(np.zeros((2, 4, 4, 3)), np.array([-1, 9]))),
    (r"size=\(0, 8\)", lambda: crop_regions([MAPS], BOXES[None], (0, 8), 2)),
    ("output_size=0", lambda: crop_regions([MAPS], BOXES[None], (8, 8), 0)),
    ("levels: there are none", lambda: crop_regions([], BOXES[None], (8, 8), 2)),
    ("classifier='tree'", lambda: faster_rcnn.image_losses(REGION_OUTPUTS, SAMPLED, BOXES, "tree")),
    (
        r"sampled.target\[1\]=9",
        lambda: faster_rcnn.image_losses(REGION_OUTPUTS, SAMPLED._replace(target=np.array([0, 9])), BOXES),
    ),
    (
        r"sampled.matched\[1\]=9",
        lambda: faster_rcnn.image_losses(REGION_OUTPUTS, SAMPLED._replace(matched=np.array([0, 9])), BOXES),
    ),
    ("classifier='tree'", lambda: faster_rcnn.postprocess(REGION_OUTPUTS, BOXES, VALID, (8, 8), "tree", **KEEP)),
    ("proposals=.*wrong shape", lambda: faster_rcnn.postprocess(REGION_OUTPUTS, BOXES[:1], VALID, (8, 8), **KEEP)),
    ("region_size=0", lambda: warp_regions(MAPS, BOXES[None], 0)),
    (r"boxes\[0, 0\]=.*flipped", lambda: warp_regions(MAPS, FLIPPED[None], 4)),
    ("labels=.*wrong shape", lambda: of_image_fractions(BOXES[None], LABELS[None, :1], VALID[None], (8, 8))),
    (r"size=\(0, 8\)", lambda: of_image_fractions(BOXES[None], LABELS[None], VALID[None], (0, 8))),
    ("label_noise=2", lambda: noise_boxes(KEY, TARGETS, 2, 4, label_noise=2.0)),
    ("box_noise=-1", lambda: noise_boxes(KEY, TARGETS, 2, 4, box_noise=-1.0)),
    ("num_classes=0", lambda: noise_boxes(KEY, TARGETS, 0, 4)),
    ("num_queries=-1", lambda: noise_boxes(KEY, TARGETS, 2, -1)),
    ("num_denoising=nan", lambda: noise_boxes(KEY, TARGETS, 2, 4, num_denoising=NAN)),
    ("no room for a box", lambda: noise_boxes(KEY, jax.tree.map(lambda x: x[:, :0], TARGETS), 2, 4)),
    (r"image_size=\(0, 8\)", lambda: heat_map_targets(POINTS, (0, 8), (4, 4))),
    (r"map_size=\(4,\)", lambda: heat_map_targets(POINTS, (8, 8), (4,))),
    ("box=.*wrong shape", lambda: box_distance(BOXES[:, :3], BOXES[:, :3])),
    (
        "side_logits=.*wrong shape",
        lambda: yolo_anchor_free.predicted_boxes(np.zeros((3, 4, 3)), GRID),
    ),
]


def mine(matched=(0, -1, -2, 0), **settings):
    outputs = single_stage.Outputs(np.zeros((4, 3)), DELTAS)
    return single_stage.mined_losses(outputs, ANCHORS, BOXES, LABELS, np.array(matched), **settings)


def assign(assigner, labels=LABELS, **settings):
    return assigner(LOGITS, DELTAS, GRID, BOXES, labels, VALID, **settings)


@pytest.mark.parametrize(("message", "call"), CASES)
def test_an_argument_that_does_not_fit_is_named(message, call):
    with pytest.raises(ValueError, match=message):
        call()


def test_traced_boxes_and_labels_pass():
    """Inside jit, values are not checked: wrong labels give what they gave."""
    boxes = jnp.asarray(BOXES)
    call = jax.jit(lambda labels: losses("retinanet", boxes, labels)["num_foreground"])
    assert jax.eval_shape(call, jnp.array([0, 7])).shape == ()
