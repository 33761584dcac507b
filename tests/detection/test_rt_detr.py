"""RT-DETR and its second version against transformers', query selection, and denoising queries by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.detection.denoising import noise_boxes, of_image_fractions
from dlcore.detection.hybrid_encoder import HybridEncoder
from dlcore.detection.resnet_d import ResNetD
from dlcore.detection.rt_detr import RTDETR, select_queries
from dlcore.detection.torch_weights import from_torch_names
from tests.detection.detectors import TARGETS, Golden, Image
from tests.detection.hub_folders import check_published
from tests.wiring import assert_wiring


@pytest.mark.weekly
@pytest.mark.covers("DE-28")
@pytest.mark.parametrize("name", ["hf_rt_detr", "hf_rt_detr_v2"])
def test_a_published_folder_equals_transformers(name, tmp_path):
    net = check_published(name, tmp_path, 2e-5)
    assert net.name == {"hf_rt_detr": "rt_detr_r50vd", "hf_rt_detr_v2": "rt_detr_v2_r50vd"}[name]


noise = jax.jit(noise_boxes, static_argnums=(2, 3), static_argnames=("num_denoising", "label_noise", "box_noise"))


@pytest.mark.slow
def test_noise_moves_corners_by_up_to_half_a_side_and_more_for_negatives():
    """Two groups of 2 boxes: 2 positives, then 2 negatives; corners move by s/2 of a side at most, and by s/2 to s."""
    found = noise(jax.random.key(0), TARGETS, 3, 5, num_denoising=5, label_noise=0, box_noise=0.4)
    chex.assert_shape(found.boxes, (2, 8, 4))
    np.testing.assert_array_equal(found.labels, [[1, 2] * 4, [0, 3] * 4])  # 3 is "no class"
    corners, true = ([b[..., :2] - b[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2] for b in (found.boxes, TARGETS.boxes))
    for corner, origin in zip(corners, true, strict=True):
        ratio = np.abs(corner[0] - np.tile(origin[0], (4, 1))) / np.tile(TARGETS.boxes[0, :, 2:], (4, 1))
        np.testing.assert_array_equal(ratio[[0, 1, 4, 5]] <= 0.2 + 1e-6, np.ones((4, 2), bool))
        np.testing.assert_array_equal((ratio[[2, 3, 6, 7]] >= 0.2 - 1e-6) & (ratio[[2, 3, 6, 7]] <= 0.4 + 1e-6), True)


@pytest.mark.slow
def test_groups_see_themselves_and_the_others_but_nobody_sees_a_group():
    mask = np.asarray(noise(jax.random.key(0), TARGETS, 3, 2, num_denoising=4).mask)[:, 0]
    first = np.kron(np.eye(2), np.ones((4, 4))).astype(bool)  # two groups of 4
    np.testing.assert_array_equal(mask[0, :8, :8], first)
    assert mask[:, :, 8:].all()
    assert not mask[:, 8:, :8].any()
    np.testing.assert_array_equal(mask[1, 0, :8], [True, False, True, False, *[False] * 4])  # padding is hidden


def test_boxes_in_pixels_become_centers_and_sizes_in_fractions_of_the_image():
    """(2, 1) to (10, 5) of 20 x 10 pixels: center (6 / 20, 3 / 10), sides 8 / 20 and 4 / 10. Padding may be NaN."""
    labels, valid = np.array([[2, 1]]), np.array([[True, False]])
    boxes = np.array([[[2, 1, 10, 5], [np.nan] * 4]], np.float32)
    found = jax.jit(lambda boxes: of_image_fractions(boxes, labels, valid, (10, 20)))(boxes)
    np.testing.assert_allclose(found.boxes, [[[0.3, 0.3, 0.4, 0.4], [0] * 4]], rtol=1e-6)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.valid, valid)


@pytest.mark.covers("DE-28")
def test_too_many_queries_are_said():
    with pytest.raises(ValueError, match="num_queries=5: too many; allowed: at most the 4 locations"):
        select_queries(jnp.zeros((1, 4, 8)), ((2, 2),), 5, 3, 0.0, None)


@pytest.mark.weekly
def test_denoising_queries_are_there_in_training_alone():
    backbone = ResNetD(stages=(1, 1, 1, 1), widths=(8, 8, 8, 8), stem_width=8, block="basic")
    model = RTDETR(backbone, 3, num_queries=6, features=16, num_heads=2, hidden_features=16, decoder_layers=1,
                   encoder_features=16, encoder_heads=2, encoder_hidden_features=16, num_denoising=4)  # fmt: skip
    x = jnp.zeros((2, 64, 64, 3))

    def run():
        variables = model.init(jax.random.key(0), x)
        train = model.apply(
            variables, x, True, targets=TARGETS, mutable=["batch_stats"], rngs={"dropout": jax.random.key(1)}
        )
        return model.apply(variables, x)[0], train[0][0]

    outputs, train = jax.eval_shape(run)
    chex.assert_shape([outputs.logits, train.logits], (2, 2, 6, 3))  # of the proposals, and of one layer
    chex.assert_shape([outputs.noisy_boxes, train.noisy_boxes], [(2, 1, 0, 4), (2, 1, 8, 4)])


def as_published(key):
    """PekingU/rtdetr_r50vd of transformers' hub: an older name of a key."""
    key = key.replace("model.encoder.aifi.", "model.encoder.encoder.").replace("_attn.o_proj.", "_attn.out_proj.")
    return key.replace(".mlp.fc", ".fc")


@pytest.mark.weekly
def test_older_names_load():
    golden = Golden("hf_rt_detr")
    backbone = ResNetD(stages=(1, 1, 1, 1), widths=(8, 12, 16, 24), stem_width=8, block="basic")
    model = RTDETR(backbone, 5, num_queries=10, features=16, num_heads=2, hidden_features=24, decoder_layers=2,
                   encoder_features=16, encoder_heads=2, encoder_hidden_features=24, num_denoising=0)  # fmt: skip
    today = from_torch_names(model, golden.weights)
    heads = {key.removeprefix("model.decoder."): golden.weights[key] for key in golden.weights if "_embed." in key}
    older = {as_published(key): value for key, value in golden.weights.items()} | heads
    chex.assert_trees_all_equal(from_torch_names(model, older), today)


def test_the_wiring_of_hybrid_encoder_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        HybridEncoder(levels=(1,), num_heads=2, hidden_features=8, num_blocks=1),
        [np.cos(np.arange(512.0)).reshape(1, 8, 8, 8), np.sin(np.arange(128.0)).reshape(1, 4, 4, 8)],
        [24.2289, -34.2862],
    )


def test_the_wiring_of_resnet_d_is_as_it_was():
    """A regression: the numbers are of the code that the golden of the slow tier holds."""
    network = ResNetD(num_classes=0, stages=(1, 1), widths=(8, 16), stem_width=8)
    assert_wiring(network, (1, 24, 24, 3), [559.518158, 60.055997], method="features", train=False)


@pytest.mark.covers("DE-28")
def test_the_wiring_of_rt_detr_is_as_it_was():
    """A regression: the numbers are of the code that the golden of the weekly tier holds. In training, with two
    groups of denoising queries, and with a second level that is made from the only map."""
    model = RTDETR(Image(), 3, ("only",), num_queries=5, features=8, num_heads=2, hidden_features=8, decoder_layers=2,
                   num_levels=2, num_points=1, encoder_features=6, encoder_layers=0, encoder_levels=(),
                   num_denoising=5)  # fmt: skip
    assert_wiring(model, (2, 4, 6, 3), [31.5056, 5.26189], train=True, targets=TARGETS)
