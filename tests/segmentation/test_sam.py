"""SAM against transformers, and prompts in pixels of photographs."""

import itertools
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model, load_torch
from dlcore.models.stored_counts import stored_models
from dlcore.models.vitdet import ViTDet
from dlcore.pretrained.families.sam import FAMILIES
from dlcore.pretrained.processor import Processor
from dlcore.segmentation.mask_decoder import MaskDecoder
from dlcore.segmentation.prompts import check_boxes, check_points
from dlcore.segmentation.sam import SAM, PromptEncoder, fourier_positions
from tests.models.parity import check_output, nhwc, read_golden, weight_rule
from tests.wiring import assert_wiring

ENCODER = ViTDet(
    num_classes=0, image_size=64, pretrain_size=64, patch_size=8, depth=2, width=16, num_heads=2, mlp_features=32,
    window_size=4, global_blocks=(1,), drop_path=0.0,
)  # fmt: skip
FIELDS = {"encoder": ENCODER, "features": 16, "hidden": 24, "num_heads": 2, "iou_hidden": 16, "mask_channels": 8}
FAMILY = FAMILIES[0]
PROCESSOR = Processor(longest=64, pad=(64, 64))


@pytest.mark.slow
@pytest.mark.parametrize("file", ["hf_sam", "hf_sam_box"])
def test_sam_equals_transformers(file):
    golden, meta, weights = read_golden(file)
    inputs = {key: weight_rule().det_input(spec) for key, spec in meta["inputs"].items()}
    hidden = dict(map(tuple, meta["state_dict"]))["mask_decoder.iou_prediction_head.proj_in.weight"][0]
    fields = FIELDS | {"iou_hidden": hidden}
    model, variables = create_model("sam_vit_b", **fields), load_torch("sam_vit_b", weights, **fields)
    prompts = {key.removeprefix("input_"): value for key, value in inputs.items() if key != "pixel_values"}
    logits, iou = jax.jit(model.apply)(variables, nhwc(inputs["pixel_values"]), **prompts)
    check_output(golden, meta, "pred_masks", logits[:, :, 1:])
    check_output(golden, meta, "iou_scores", iou[:, :, 1:])


@pytest.mark.slow
def test_one_parameter_has_two_names():
    weights = read_golden("hf_sam")[2]
    copy = "prompt_encoder.shared_embedding.positional_embedding"
    variables = load_torch("sam_vit_b", {k: v for k, v in weights.items() if k != copy}, **FIELDS)
    frequencies = weights["shared_image_embedding.positional_embedding"]
    np.testing.assert_array_equal(variables["params"]["positional_embedding"], frequencies)
    with pytest.raises(ValueError, match=r"shared_embedding.positional_embedding is not shared_image_embedding"):
        load_torch("sam_vit_b", weights | {copy: frequencies + 1}, **FIELDS)


def test_positions_by_formula():
    """At (3/4, 1/2), which is (1/2, 0): angles pi f of the frequencies' first row, f = 1/2 and 1."""
    frequencies = jnp.array([[0.5, 1.0], [9.0, 9.0]])
    np.testing.assert_allclose(fourier_positions(jnp.array([0.75, 0.5]), frequencies), [1, 0, 0, -1], atol=1e-6)


def test_a_prompt_has_a_token_for_each_point_and_corner():
    """Of equal vectors for all kinds: labels -1 and -10 leave out the position, and the second the vector, too."""
    encoder, frequencies = PromptEncoder(4, 10), jnp.full((2, 2), 0.25)
    points, boxes = jnp.full((1, 1, 2, 2), 4.5), jnp.array([[[4.5, 4.5, 9.5, 9.5]]])
    names = {"point_embed": 4, "not_a_point_embed": 1, "no_mask_embed": 1}
    params = {"params": {name: jnp.full((n, 4), float(n)) for name, n in names.items()}}

    @jax.jit
    def run():
        one = encoder.apply(params, frequencies, points, jnp.array([[[1, -10]]]), None, None)
        return one, encoder.apply(params, frequencies, points, jnp.array([[[0, -1]]]), boxes, None)

    (tokens, _, dense), (boxed, _, _) = run()
    # The middle has sines 0 and cosines 1; the kind adds 4; behind the points stands "no point", 1.
    np.testing.assert_allclose(tokens[0, 0], [[4, 4, 5, 5], [0] * 4, [1] * 4], atol=1e-6)
    np.testing.assert_array_equal(dense, np.ones((1, 1, 1, 4)))
    # The lower right corner (1, 1): angles 2 pi (1/4 + 1/4), sines 0 and cosines -1.
    np.testing.assert_allclose(boxed[0, 0], [[4, 4, 5, 5], [1] * 4, [4, 4, 5, 5], [4, 4, 3, 3]], atol=1e-5)


def call(**prompts):
    """(what the network gets, outputs) for a photograph of 90 x 120 pixels, shrunk to 48 x 64 and padded."""
    received = {}

    def run(arrays):
        received.update(arrays)
        masks = jnp.arange(4.0).reshape(1, 1, 1, 2, 2)
        return {"pred_masks": masks, "iou_scores": jnp.zeros((1, 1, 1))}

    sizes = jnp.array([[90, 120]])
    return received, FAMILY.call(
        run, {"pixel_values": jnp.zeros((1, 64, 64, 3)), "original_sizes": sizes} | prompts, PROCESSOR
    )


def test_prompts_are_scaled_to_the_networks_image():
    """By 64 / 120 and 48 / 90, which are both 8 / 15; axes of images and objects may be left out."""
    received, outputs = call(input_points=jnp.array([[30.0, 45.0]]), input_boxes=jnp.array([0.0, 15, 60, 90]))
    np.testing.assert_allclose(received["input_points"], [[[[16, 24]]]])
    np.testing.assert_allclose(received["input_boxes"], [[[0, 8, 32, 48]]])
    chex.assert_shape(outputs["masks_at_original_size"], (1, 1, 1, 90, 120))
    masks = np.asarray(outputs["masks_at_original_size"])[0, 0, 0]
    # Rows of 0 and 2 have their centers at 16 and 48 of 64 pixels: pixel 47 of 48 is at 2 (47.5 - 16) / 32.
    assert (masks[0, 0], masks[-1, 0]) == (0, pytest.approx(2 * 31.5 / 32, rel=1e-3))
    assert masks[0, -1] == 1


def test_points_and_boxes_may_touch_the_edges_of_their_own_photograph():
    """Of 6 x 3 and 4 x 5 pixels; a point that is none may lie anywhere."""
    limits = np.array([[6, 3], [4, 5]])
    points = np.array([[[[0, 0], [6, 3]]], [[[4, 5], [9, -9]]]], float)
    check_points(points, np.array([[[1, 0]], [[1, -1]]]), limits)
    check_points(points[:, :, :1], None, limits)
    boxes = np.array([[[0, 0, 6, 3]], [[0, 0, 4, 5]]], float)
    check_boxes(boxes, limits)
    for image, axis in itertools.product(range(2), range(2)):
        far, before = points.copy(), points.copy()
        far[image, 0, 0, axis], before[image, 0, 0, axis] = limits[image, axis] + 0.5, -0.5
        x, y = limits[image]
        for wrong in (far, before):
            with pytest.raises(ValueError, match=rf"^points=.*: outside the photograph; .* 0 to {x}, y from 0 to {y}$"):
                check_points(wrong, np.array([[[1, 0]], [[1, -10]]]), limits)
        for corner, value in ((axis, -0.5), (axis, limits[image, axis]), (2 + axis, limits[image, axis] + 0.5)):
            wrong = boxes.copy()
            wrong[image, 0, corner] = value
            with pytest.raises(ValueError, match=rf"^boxes=.* x1 < x2 from 0 to {x}, y1 < y2 from 0 to {y}$"):
                check_boxes(wrong, limits)
    with pytest.raises(ValueError, match=r"points=.*inf.*: outside the photograph"):
        check_points(np.where(points < 0, -np.inf, points), np.array([[[1, 0]], [[1, -1]]]), limits)


def nearest(x, size):
    """Resize maps [B, H, W, C] to the nearest pixels, by NumPy, which compiles nothing."""
    rows, columns = (np.arange(n) * old // n for n, old in zip(size, x.shape[1:3], strict=True))
    return np.asarray(x)[:, rows][:, :, columns]


def test_prompts_of_several_photographs_have_their_own_scales(monkeypatch):
    """Photographs of 64 x 128 and 32 x 16 pixels have sides of 32 x 64, by 1/2, and 64 x 32, by 2."""
    received = {}
    monkeypatch.setattr("dlcore.pretrained.families.sam.resize", nearest)

    def run(arrays):
        received.update(arrays)
        return {"pred_masks": np.stack([np.zeros((3, 2, 2, 2)), np.arange(24.0).reshape(3, 2, 2, 2)])}

    prompts = {"input_points": np.full((2, 5, 2), [8, 6]), "input_labels": np.ones((2, 5), int)}
    prompts["input_boxes"] = np.array([[[2, 4, 6, 8]] * 3, [[2, 4, 6, 8]] * 3])
    inputs = {"pixel_values": jnp.zeros((2, 64, 64, 3)), "original_sizes": np.array([[64, 128], [32, 16]])}
    masks = FAMILY.call(run, inputs | prompts, PROCESSOR)["masks_at_original_size"]
    np.testing.assert_array_equal(received["input_points"], [[[[4, 3]] * 5], [[[16, 12]] * 5]])
    np.testing.assert_array_equal(received["input_labels"], np.ones((2, 1, 5)))
    np.testing.assert_array_equal(received["input_boxes"], [[[1, 2, 3, 4]] * 3, [[4, 8, 12, 16]] * 3])
    assert [mask.shape for mask in masks] == [(3, 2, 64, 128), (3, 2, 32, 16)]
    # In the order of objects and masks: the left half of each mask, without the padding.
    halves = np.arange(24).reshape(3, 2, 2, 2)[..., :1]
    np.testing.assert_array_equal(masks[1], halves.repeat(16, 2).repeat(16, 3))


@pytest.mark.parametrize(("name", "count"), [("b", 93_735_472), ("l", 312_342_832), ("h", 641_090_608)])
def test_parameter_counts_are_the_authors(name, count):
    """The authors' count is without the 2 x 128 frequencies, which they store as a buffer."""
    assert stored_models("segmentation")[f"sam_vit_{name}"]["parameters"] == count + 256


class Strided(nn.Module):
    """An encoder whose map is every fourth pixel of an image."""

    image_size: int = 16
    patch_size: int = 4
    depth: int = 1

    def features(self, x):
        return {"block1": x[:, ::4, ::4]}


def test_the_wiring_of_sam_is_as_it_was():
    """A regression, for points of which some are padding or corners, beside masks that one of two images has."""
    model = SAM(Strided(), features=16, num_masks=2, num_heads=2, hidden=8, iou_hidden=8, mask_channels=4)
    rng = np.random.default_rng(0)
    points, masks = rng.uniform(0, 16, (2, 2, 3, 2)), rng.normal(size=(2, 16, 16, 1))
    labels = np.array([[[1, 0, -2], [2, 3, 1]], [[0, -1, 1], [1, -2, -2]]])

    def run(sam, x):
        return sam.decode(sam.encode(x), points, labels, None, masks, np.array([True, False]))

    assert_wiring(model, (2, 16, 16, 3), [63.807, -18.9674], method=run)


def test_published_sam_takes_prompts_by_name_and_gives_the_three_masks_alone():
    masks, iou = np.arange(32).reshape(1, 1, 4, 2, 4), np.arange(4).reshape(1, 1, 4)
    model = SimpleNamespace(apply=lambda variables, *inputs: (masks + sum(inputs[:3]), iou + len(inputs)))
    outputs = FAMILY.outputs(model, None, {"pixel_values": 1, "input_labels": 20, "input_points": 300})
    np.testing.assert_array_equal(outputs["pred_masks"], masks[:, :, 1:] + 321)
    np.testing.assert_array_equal(outputs["iou_scores"], iou[:, :, 1:] + 5)


def test_a_mask_prompt_may_have_the_librarys_axes():
    """[B, 1, h, w] becomes [B, h, w, 1]; prompts of images that are no photographs are in their pixels."""
    received = {}
    mask = np.arange(6.0).reshape(1, 1, 2, 3)
    run = lambda arrays: received.update(arrays) or {}  # noqa: E731
    inputs = {"pixel_values": np.zeros((1, 64, 64, 3)), "input_points": np.float32([[30, 45]])}
    FAMILY.call(run, inputs | {"input_masks": mask}, PROCESSOR)
    np.testing.assert_array_equal(received["input_masks"], mask.reshape(1, 2, 3, 1))
    np.testing.assert_array_equal(received["input_points"], [[[[30, 45]]]])
    FAMILY.call(run, inputs | {"input_masks": mask.reshape(1, 2, 3, 1)}, PROCESSOR)
    np.testing.assert_array_equal(received["input_masks"], mask.reshape(1, 2, 3, 1))


def test_sam_without_fields_is_the_published_network_and_a_configuration_gives_its_fields():
    name, fields = FAMILY.model({})
    assert (name, SAM(**fields)) == ("sam_vit_b", create_model("sam_vit_b"))
    vision = {"image_size": 32, "hidden_size": 6, "patch_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2}
    vision |= {"mlp_ratio": 2.5, "window_size": 5, "global_attn_indexes": [1, 2], "use_rel_pos": False}
    vision |= {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "qkv_bias": True, "use_abs_pos": True}
    prompts = {"hidden_size": 16, "mask_input_channels": 12, "hidden_act": "gelu", "layer_norm_eps": 1e-6}
    decoder = {"num_multimask_outputs": 5, "num_hidden_layers": 1, "num_attention_heads": 4, "mlp_dim": 7}
    decoder |= {"iou_head_hidden_dim": 9, "iou_head_depth": 4, "hidden_act": "relu", "layer_norm_eps": 1e-6}
    config = {"vision_config": vision, "prompt_encoder_config": prompts | {"num_point_embeddings": 4}}
    config |= {"mask_decoder_config": decoder | {"attention_downsample_rate": 2}}
    encoder = ViTDet(
        num_classes=0, image_size=32, pretrain_size=32, patch_size=8, depth=3, width=6, num_heads=2, mlp_features=15,
        window_size=5, global_blocks=(1, 2), relative_positions=False, drop_path=0.0,
    )  # fmt: skip
    assert FAMILY.model(config)[1] == {
        "encoder": encoder, "features": 16, "num_masks": 5, "decoder_depth": 1, "num_heads": 4, "hidden": 7,
        "iou_hidden": 9, "iou_depth": 4, "mask_channels": 12,
    }  # fmt: skip
    vision["mlp_dim"] = 11
    assert FAMILY.model(config)[1]["encoder"].mlp_features == 11


def test_the_decoder_has_the_papers_sizes():
    """Two blocks of 8 heads and 2048 hidden units, three masks; an MLP of three layers and 256 units for their IoU."""
    for model in (SAM(ENCODER), MaskDecoder()):
        assert (model.num_masks, model.num_heads, model.hidden) == (3, 8, 2048)
        assert (model.iou_hidden, model.iou_depth) == (256, 3)
    assert (SAM(ENCODER).features, SAM(ENCODER).decoder_depth, MaskDecoder().depth) == (256, 2, 2)
    assert SAM(ENCODER).mask_channels == 16


def test_positions_of_many_turns_keep_their_phase():
    places, frequencies = np.float32([[0.3, 0.7], [900.25, 1000.5]]), np.float32([[3, 8.5], [16, 0.25]])
    angles = 2 * np.pi * ((2 * places.astype(float) - 1) @ frequencies)
    expected = np.concatenate([np.sin(angles), np.cos(angles)], -1)
    np.testing.assert_allclose(fourier_positions(places, frequencies), expected, atol=2e-5)
