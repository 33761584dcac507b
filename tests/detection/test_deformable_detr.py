"""Deformable DETR against transformers', with refinement and two stages, padded images, and published names."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.detection.deformable_detr import DeformableDETR
from dlcore.detection.query_blocks import inverse_sigmoid
from dlcore.detection.torch_weights import from_torch_names
from dlcore.models.resnet import BasicBlock, ResNet
from dlcore.nn.deformable_encoder import grid_centers
from tests.detection.detectors import Golden, Image, Small
from tests.detection.hub_folders import check_published
from tests.detection.test_published_names import with_timms_resnet
from tests.models.tracing import layers_traced_once
from tests.wiring import assert_wiring

FIELDS: dict[str, Any] = {"num_queries": 10, "features": 32, "num_heads": 2, "hidden_features": 24, "encoder_layers": 1}
FIELDS |= {"decoder_layers": 2}
BACKBONE = ResNet(stages=(1, 1, 1, 1), block=BasicBlock, stem_width=8, widths=(8, 12, 16, 24))
SMALL = DeformableDETR(Small(), 3, ("fine", "coarse"), 3, **FIELDS)


@pytest.mark.weekly
@pytest.mark.covers("DE-27")
def test_scores_and_boxes_equal_transformers():
    """In float64, so that what is left is the noise of the golden's own float32, 1.5e-4 of the boxes' deviation."""
    golden = Golden("hf_deformable_detr")
    model = DeformableDETR(BACKBONE, 5, **FIELDS)
    with jax.enable_x64(True):
        variables = jax.tree.map(lambda v: np.asarray(v, np.float64), from_torch_names(model, golden.weights))
        outputs, sides = jax.jit(model.apply)(variables, golden.images("pixel_values").astype(np.float64))
    np.testing.assert_array_equal(sides, [64, 64, 64, 64])
    for name, value in (("logits", outputs.logits[:, -1]), ("pred_boxes", outputs.boxes[:, -1])):
        golden.check(value, name, 1.1 * golden.meta["outputs"][name]["f64_err"])


@pytest.mark.weekly
@pytest.mark.covers("DE-27")
def test_a_published_folder_is_read_by_its_configuration(tmp_path):
    net = check_published("hf_deformable_detr", tmp_path, 3e-4)
    assert net.name == "deformable_detr_resnet50"


def test_centers_and_odds_by_hand():
    np.testing.assert_allclose(grid_centers([(1, 2), (1, 1)]), [[0.25, 0.5], [0.75, 0.5], [0.5, 0.5]])
    np.testing.assert_allclose(inverse_sigmoid(jnp.array([0.8, -1.0])), [np.log(4), np.log(1e-5)], rtol=1e-4)


@pytest.mark.covers("DE-27")
def test_each_form_has_its_heads():
    """One pair of heads; one a layer with refinement; one more for the proposals, which replace learned positions."""

    def names(**fields):
        with layers_traced_once():
            model = SMALL.clone(encoder_layers=0, **fields)
            shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
        return {name for name in shapes["params"] if name.startswith(("bbox", "class", "query", "pos_trans"))}

    heads = [{f"bbox_embed_{i}", f"class_embed_{i}"} for i in range(3)]
    assert names() == heads[0] | {"query_positions"}
    assert names(box_refine=True) == heads[0] | heads[1] | {"query_positions"}
    assert names(box_refine=True, two_stage=True) == set.union(*heads, {"pos_trans", "pos_trans_norm"})
    with pytest.raises(
        ValueError, match="two_stage=True: needs the heads of refinement; allowed: with box_refine=True"
    ):
        names(two_stage=True)


@pytest.mark.weekly
@pytest.mark.parametrize("two_stage", [False, True])
def test_queries_stay_in_the_image_beside_padding(two_stage):
    """Group norm sees the padding, so boxes move a little; tokens of the padding propose nothing."""
    model = SMALL.clone(num_levels=2, num_queries=3, box_refine=True, two_stage=two_stage)
    image = jax.random.normal(jax.random.key(0), (1, 64, 64, 3))
    canvas = jnp.pad(image, ((0, 0), (0, 64), (0, 32), (0, 0)))
    variables = model.init(jax.random.key(1), image)
    padded, sides = jax.jit(model.apply)(variables, canvas, jnp.array([[64, 64]]))
    np.testing.assert_array_equal(sides, [[64, 64, 64, 64]])
    chex.assert_tree_all_finite(padded)
    assert (padded.boxes[..., :2] < 0.99).all()
    if not two_stage:
        alone, _ = jax.jit(model.apply)(variables, image)
        assert np.abs(padded.boxes[:, 0] - alone.boxes[:, 0]).max() < 0.05


@pytest.mark.weekly
def test_older_names_load():
    """SenseTime/deformable-detr of transformers' hub, with timm's ResNet."""
    golden = Golden("hf_deformable_detr")
    model = DeformableDETR(BACKBONE, 5, **FIELDS)
    older = with_timms_resnet(golden.weights, "model.backbone.conv_encoder.model.")
    older = {key.replace("self_attn.o_proj.", "self_attn.out_proj."): value for key, value in older.items()}
    older = {key.replace(".mlp.fc", ".fc"): value for key, value in older.items()}
    chex.assert_trees_all_equal(from_torch_names(model, older), from_torch_names(model, golden.weights))


@pytest.mark.covers("DE-27")
def test_the_wiring_of_deformable_detr_is_as_it_was():
    """A regression: the numbers are of the code that the golden of the weekly tier holds. Of padded images, with two
    levels beyond the only map, refinement and two stages."""
    model = DeformableDETR(Image(), 3, ("only",), 3, num_queries=3, features=32, num_heads=2, hidden_features=4,
                           num_points=1, encoder_layers=1, decoder_layers=2, box_refine=True,
                           two_stage=True)  # fmt: skip
    assert_wiring(model, (2, 4, 6, 3), np.array([[4, 3], [2, 6]]), [15.5805, -3.92382])
