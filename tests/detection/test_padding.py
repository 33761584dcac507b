"""Images of two sizes in one batch: torchvision's and transformers' boxes, and what the padding does not reach."""

import json
from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.data.normalization import IMAGENET_MEAN, IMAGENET_STD
from dlcore.data.resizing import ShortestEdge, resize_bilinear, shortest_edge
from dlcore.detection import detr, fcos, retinanet, ssd, two_stage
from dlcore.detection.faster_rcnn import FasterRCNN
from dlcore.detection.padding import add_image_sizes, clip_sizes, pixel_mask, token_positions, zero_padding
from dlcore.detection.retinanet import RetinaNet
from dlcore.detection.torch_detectors import MODELS
from dlcore.detection.torch_weights import from_torch_names
from dlcore.learner import ModelState
from dlcore.models.resnet import BasicBlock, ResNet
from dlcore.nn.position import sinusoidal_encoding_2d
from dlcore.ops.boxes import box_convert, clip_boxes, resize_boxes
from tests.detection.detectors import GOLDENS, RULE, Golden, Small
from tests.experiment.arguments import arguments_of

SSD_MEAN = (0.48235, 0.45882, 0.40784)
TECHNIQUES = {
    "retinanet_resnet50_fpn": retinanet.learner,
    "fcos_resnet50_fpn": fcos.learner,
    "fasterrcnn_resnet50_fpn": two_stage.learner,
    "ssd300_vgg16": ssd.learner,
}
RENAMED = {
    "box_score_thresh": "score_thresh",
    "box_detections_per_img": "detections_per_img",
    "rpn_pre_nms_top_n_test": "topk_candidates",
    "rpn_post_nms_top_n_test": "num_proposals",
}
LOSSES = {"classification": "classification", "box": "bbox_regression", "centerness": "bbox_ctrness"}


@cache
def padded():
    arrays = np.load(GOLDENS / "tvdet_padded.npz")
    return arrays, json.loads(str(arrays["meta"]))


def photographs():
    """Two uint8 images [H, W, 3] of different sizes."""
    levels = (RULE.det_input(spec) for spec in padded()[1]["inputs"])
    return [np.clip(np.round(x), 0, 255).astype(np.uint8).transpose(1, 2, 0) for x in levels]


def canvas_of(name):
    """As torchvision: for SSD 300 x 300 whatever the image, else the least multiples of 32 that hold both."""
    if name.startswith("ssd"):
        return None
    shortest, longest = padded()[1]["edge"]
    edge = ShortestEdge(shortest, longest, (longest, longest))
    sides = np.max([edge.size(*image.shape[:2]) for image in photographs()], 0)
    return shortest_edge(f"shortest_edge:{shortest},{longest}", tuple((-(-sides // 32) * 32).tolist()))


def batch_of(name):
    """The batch of both images, normalized before they are resized, as torchvision does; boxes with them."""
    edge, images = canvas_of(name), photographs()
    settings = padded()[1]["outputs"][name]["settings"]
    mean, std = (SSD_MEAN, settings["image_std"]) if edge is None else (IMAGENET_MEAN, IMAGENET_STD)
    canvas = (300, 300) if edge is None else edge.canvas
    batch = {"image": np.zeros((2, *canvas, 3), np.float32), "boxes": np.zeros((2, 2, 4), np.float32)}
    batch |= {"labels": np.full((2, 2), -1), "box_mask": np.zeros((2, 2), bool), "index": np.arange(2)}
    batch["original_size"] = np.array([image.shape[:2] for image in images], np.int32)
    batch["image_size"] = np.array([edge.size(*s) if edge else canvas for s in batch["original_size"]], np.int32)
    for i, (image, target) in enumerate(zip(images, padded()[1]["targets"], strict=True)):
        size, count = batch["image_size"][i].tolist(), len(target["labels"])
        normalized = (image.astype(np.float32) / 255 - np.float32(mean)) / np.float32(std)
        batch["image"][i, : size[0], : size[1]] = resize_bilinear(normalized, size)
        batch["boxes"][i, :count] = resize_boxes(np.float32(target["boxes"]), image.shape[:2], size)
        batch["labels"][i, :count], batch["box_mask"][i, :count] = target["labels"], True
    return batch


@cache
def predicted(name):
    """(state, learner, jitted predict) of a published detector with the goldens' weights."""
    model, golden = MODELS[name](), Golden(f"tvdet_{name}")
    settings = padded()[1]["outputs"][name]["settings"]
    settings = {RENAMED.get(key, key): value for key, value in settings.items() if key != "image_std"}
    technique = TECHNIQUES[name]
    learner = technique(model=model, optimizer=optax.identity(), **arguments_of(technique, **settings))
    side = (300, 300) if name.startswith("ssd") else (64, 64)
    variables = dict(from_torch_names(model, golden.weights, side))
    params = variables.pop("params")
    return ModelState(np.int32(0), jax.random.key(0), params, (), variables), learner, jax.jit(learner.predict)


def in_original(detections):
    """Boxes in the pixels of the original images."""
    scale = np.asarray(detections["original_size"]) / np.asarray(detections["image_size"])
    return np.asarray(detections["boxes"]) * np.tile(scale[:, ::-1], 2)[:, None]


@pytest.mark.weekly
@pytest.mark.covers("DE-21")
@pytest.mark.parametrize("name", TECHNIQUES)
def test_two_images_of_different_sizes_have_torchvisions_boxes(name):
    arrays = padded()[0]
    state, _, predict = predicted(name)
    found = predict(state, batch_of(name))
    boxes = in_original(found)
    background = 0 if name.startswith(("retinanet", "fcos")) else 1  # which torchvision counts as a class
    for i in range(2):
        expected = {key: arrays[f"{name}/{i}.{key}"] for key in ("boxes", "scores", "labels")}
        count = len(expected["scores"])
        assert count >= 3
        np.testing.assert_array_equal(np.asarray(found["valid"][i]), np.arange(len(found["valid"][i])) < count)
        np.testing.assert_allclose(found["scores"][i, :count], expected["scores"], rtol=2e-4)
        np.testing.assert_array_equal(found["labels"][i, :count] + background, expected["labels"])
        np.testing.assert_allclose(boxes[i, :count], expected["boxes"], atol=0.02)
        height, width = found["original_size"][i]
        assert (boxes[i] <= np.array([width, height, width, height]) + 1e-3).all()


@pytest.mark.weekly
@pytest.mark.parametrize("name", [name for name in TECHNIQUES if name != "fasterrcnn_resnet50_fpn"])
def test_losses_of_padded_images_equal_torchvision(name):
    """torchvision divides each image by its own foreground, which one image at a time does here, too."""
    state, learner, _ = predicted(name)
    batch, expected = batch_of(name), padded()[1]["outputs"][name]["losses"]
    batch["labels"] = batch["labels"] - (1 if name.startswith("ssd") else 0)
    evaluate = jax.jit(learner.evaluate)
    metrics = [evaluate(state, {key: value[i : i + 1] for key, value in batch.items()}) for i in range(2)]
    for ours, theirs in LOSSES.items():
        if theirs not in expected:
            continue
        if name.startswith("retinanet"):
            value = np.mean([float(m[ours].compute()) for m in metrics])
        else:
            value = float(metrics[0][ours].merge(metrics[1][ours]).compute())
        assert value == pytest.approx(expected[theirs], rel=5e-4), ours


@pytest.mark.covers("DE-21")
def test_sizes_and_pixels_equal_torchvisions_transform():
    arrays, meta = padded()
    batch, stored = batch_of("retinanet_resnet50_fpn"), meta["outputs"]["transform"]
    np.testing.assert_array_equal(batch["image_size"], arrays["transform/sizes"])
    pixels = batch["image"].transpose(0, 3, 1, 2)
    assert list(pixels.shape) == stored["shape"]
    np.testing.assert_allclose(pixels.reshape(-1)[:: stored["stride"]], arrays["transform/tensors"], atol=5e-5)


# DETR


def small_detr():
    sizes = {"num_queries": 6, "features": 32, "num_heads": 4, "hidden_features": 64}
    backbone = ResNet(stages=(1, 1), block=BasicBlock, width=8)
    return detr.DETR(backbone, 5, "layer2", **sizes, encoder_layers=2, decoder_layers=2)


@pytest.mark.weekly
@pytest.mark.covers("AT-32")
def test_detr_with_a_pixel_mask_equals_transformers():
    stored, golden, model = np.load(GOLDENS / "hf_detr_padded.npz"), Golden("hf_detr"), small_detr()
    meta = json.loads(str(stored["meta"]))
    sizes = np.array(meta["sizes"], np.int32)
    x = zero_padding(golden.images("pixel_values"), {"image_size": sizes})
    (outputs, sides) = jax.jit(model.apply)(from_torch_names(model, golden.weights), x, sizes)
    np.testing.assert_array_equal(sides, sizes[:, [1, 0, 1, 0]])
    np.testing.assert_allclose(outputs.logits[:, -1], stored["logits"], atol=1e-4 * stored["logits"].std())
    np.testing.assert_allclose(outputs.boxes[:, -1], stored["pred_boxes"], atol=1e-4 * stored["pred_boxes"].std())
    # The mask matters: without it transformers' boxes are others.
    assert np.abs(stored["unmasked_pred_boxes"] - stored["pred_boxes"]).max() > 0.01 * stored["pred_boxes"].std()

    true = jnp.array([[[0.3, 0.4, 0.2, 0.3], [0.6, 0.5, 0.4, 0.5]], [[0.5, 0.5, 0.9, 0.7], [0, 0, 0, 0]]])
    corners = box_convert(true, "cxcywh", "xyxy") * sides[:, None]
    labels, valid = np.array([[1, 3], [2, -1]]), np.array([[True, True], [True, False]])
    sums = jax.jit(jax.vmap(detr.image_losses))(outputs, sides, corners, labels, valid)
    assert float(sums["box"].sum() / 3) == pytest.approx(5 * meta["losses"]["loss_bbox"], rel=1e-4)
    assert float(sums["giou"].sum() / 3) == pytest.approx(2 * meta["losses"]["loss_giou"], rel=1e-4)


@pytest.mark.covers("AT-32")
def test_sines_count_the_rows_and_columns_of_each_image():
    encode = jax.jit(sinusoidal_encoding_2d, static_argnums=(0, 1, 2))
    encoded = encode(6, 5, 8, num_rows=np.array([4, 6]), num_columns=np.array([5, 3]))
    chex.assert_shape(encoded, (2, 6, 5, 8))
    np.testing.assert_allclose(encoded[0, :4], encode(4, 5, 8), atol=1e-6)
    np.testing.assert_allclose(encoded[1, :, :3], encode(6, 3, 8), atol=1e-6)


# Pieces


def test_tokens_of_the_padding_are_masked_and_the_sines_count_the_images_own():
    arguments = ((2, 3), (32, 48), 8)
    call = jax.jit(lambda sizes: (token_positions(*arguments, None), token_positions(*arguments, sizes)))
    (position, mask, sides), padded = call(np.array([[16, 48], [32, 17]]))
    assert (position.shape, mask) == ((6, 8), None)
    np.testing.assert_array_equal(sides, [48, 32, 48, 32])
    each, mask, sides = padded
    chex.assert_shape(each, (2, 6, 8))
    np.testing.assert_array_equal(mask[:, 0, 0].reshape(2, 2, 3), [[[1, 1, 1], [0, 0, 0]], [[1, 1, 0], [1, 1, 0]]])
    np.testing.assert_array_equal(sides, [[48, 16, 48, 16], [17, 32, 17, 32]])
    alone = token_positions((2, 2), (32, 32), 8, None)[0]
    np.testing.assert_allclose(each[1].reshape(2, 3, 8)[:, :2].reshape(4, 8), alone, atol=1e-6)


def test_padding_is_marked_and_set_to_zero():
    sizes = np.array([[2, 3], [4, 1]])
    mask = np.asarray(pixel_mask(sizes, (4, 4)))
    for i, (h, w) in enumerate(((2, 3), (4, 1))):
        expected = np.zeros((4, 4), bool)
        expected[:h, :w] = True
        np.testing.assert_array_equal(mask[i], expected)
    # A location of a map is of the image where its first pixel is: 33 pixels are two rows of stride 32.
    np.testing.assert_array_equal(pixel_mask(np.array([[33, 64]]), (3, 3), (32, 32))[0].sum(), 4)
    images = np.full((2, 4, 4, 1), np.nan, np.float32)
    images[0, :2, :3] = images[1, :4, :1] = 7
    np.testing.assert_array_equal(zero_padding(images, {"image_size": sizes})[..., 0], np.where(mask, 7, 0))
    assert zero_padding(images, {}) is images


def test_boxes_are_clipped_to_the_size_of_their_own_image():
    """The padded images of a batch are mapped over, so that each size is traced."""
    boxes, sizes = np.full((2, 1, 4), [1, 1, 9, 9], np.float32), np.array([[4, 6], [8, 2]])
    clipped = jax.jit(jax.vmap(clip_boxes))(boxes, sizes)
    np.testing.assert_array_equal(clipped[:, 0], [[1, 1, 6, 4], [1, 1, 2, 8]])
    with pytest.raises(ValueError, match="negative; allowed: 0 or more"):
        clip_boxes(boxes, np.array([-1, 6]))


def test_sizes_are_the_canvas_without_padding_and_each_images_own_with_it():
    images = jnp.zeros((2, 4, 6, 1))
    assert clip_sizes({}, images) == ((4, 6), None)
    sizes, axis = clip_sizes({"image_size": jnp.array([[2, 3], [4, 1]])}, images)
    assert (sizes.tolist(), axis) == ([[2, 3], [4, 1]], 0)
    assert set(add_image_sizes({"boxes": 0}, {"image_size": 1, "original_size": 2, "label": 3})) == {
        "boxes",
        "image_size",
        "original_size",
    }


# Learners


SMALL = {"num_classes": 3, "stages": ("fine", "coarse"), "channels": 4}
SETTINGS = {"score_thresh": 0.0, "detections_per_img": 5}


def small_learners(name):
    """A small detector on the two maps of `Small`."""
    if name == "detr":
        sizes = {"num_queries": 5, "features": 8, "num_heads": 2, "hidden_features": 8}
        model = detr.DETR(Small(), 3, "fine", **sizes, encoder_layers=1, decoder_layers=1)
        return detr.learner(model=model, optimizer=optax.sgd(0.1), **SETTINGS)
    if name == "two_stage":
        model = FasterRCNN(Small(), **SMALL, extra_blocks="none", scales=(2.0,), box_channels=8, canonical_size=32.0)
        counts = {"num_proposals": 6, "rpn_batch_size_per_image": 8, "box_batch_size_per_image": 4}
        return two_stage.learner(model=model, optimizer=optax.sgd(0.1), **counts, **SETTINGS)
    model = RetinaNet(Small(), **SMALL, extra_blocks="none", num_convs=1, scales=(1.5,), aspect_ratios=(1.0,))
    return retinanet.learner(model=model, optimizer=optax.sgd(0.1), **arguments_of(retinanet.learner, **SETTINGS))


def padded_batch(fill):
    """Two images of 32 by 48 and 48 by 20 on a canvas of 48 by 48, whose padding is `fill`."""
    rng, sizes = np.random.default_rng(0), np.array([[32, 48], [48, 20]], np.int32)
    images = np.full((2, 48, 48, 3), fill, np.float32)
    for image, (h, w) in zip(images, sizes, strict=True):
        image[:h, :w] = rng.normal(size=(h, w, 3))
    boxes = np.array([[[2, 3, 20, 25], [25, 5, 47, 30]], [[3, 6, 18, 40], [0, 0, 0, 0]]], np.float32)
    mask = np.array([[True, True], [True, False]])
    batch = {"image": images, "boxes": boxes, "labels": np.array([[0, 2], [1, -1]]), "box_mask": mask}
    return batch | {"index": np.arange(2), "image_size": sizes, "original_size": 2 * sizes}


@pytest.mark.weekly
@pytest.mark.parametrize("name", ["detr", "retinanet", "two_stage"])
def test_padding_reaches_neither_a_detection_nor_a_gradient(name):
    learner, batch = small_learners(name), padded_batch(0.0)
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    predict, loss = jax.jit(learner.predict), jax.jit(jax.grad(lambda *args: learner.loss(*args)[0]))
    found = predict(state, batch)
    for fill in (9.0, np.nan):
        chex.assert_trees_all_equal(predict(state, padded_batch(fill)), found)
        chex.assert_trees_all_equal(loss(state.params, state, padded_batch(fill)), loss(state.params, state, batch))
    for i, (height, width) in enumerate(batch["image_size"]):
        assert found["valid"][i].any()
        assert (np.asarray(found["boxes"][i]) <= [width, height, width, height]).all()
    np.testing.assert_array_equal(found["original_size"], batch["original_size"])


@pytest.mark.weekly
def test_detr_sees_a_padded_image_as_it_sees_the_image_alone():
    """With a backbone of one patch a token, only attention and positions could tell the canvas from the image."""
    learner, batch = small_learners("detr"), padded_batch(0.0)
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    predict = jax.jit(learner.predict)
    both = predict(state, batch)
    alone = predict(state, {"image": batch["image"][:1, :32], "index": np.arange(1)})
    for name in ("boxes", "scores", "labels", "valid"):
        np.testing.assert_allclose(both[name][0], alone[name][0], atol=2e-4, err_msg=name)
