"""EoMT against transformers', with masks and without, and what does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models.vitdet import ViTDet
from dlcore.segmentation.eomt import EoMT
from dlcore.segmentation.published_segmenters import count_classes, example_inputs
from dlcore.segmentation.sam import SAM
from tests.detection.hub_folders import check_published
from tests.random_weights import random_like

SMALL = EoMT(3, 16, 8, depth=2, query_blocks=1, width=8, num_heads=2, mlp_features=8, num_queries=2, num_registers=1)


@pytest.mark.weekly
def test_a_published_folder_equals_transformers(tmp_path):
    """The file's `attn_mask_probs` is 1 for each block with queries: the golden's library masks."""
    net = check_published("hf_eomt", tmp_path, 2e-5, constants={"attn_mask_probs": np.ones(1, np.float32)})
    assert net.name == "eomt_large_640"


@pytest.mark.weekly
def test_blocks_without_masks_see_all_patches():
    """Queries without a pixel in their masks see no patch; where the block's masks are off, they see all."""
    x = jax.random.normal(jax.random.key(0), (1, 16, 16, 3))
    variables = SMALL.init(jax.random.key(1), x)
    head = jax.tree.map(jnp.zeros_like, variables["params"]["heads"]["mask_head_fc3"])  # no mask anywhere
    variables["params"]["heads"]["mask_head_fc3"] = head
    free = {**variables, "constants": {"attn_mask_probs": jnp.zeros(1)}}
    masked, unmasked = (SMALL.apply(v, x) for v in (variables, free))
    np.testing.assert_array_equal(masked.mask_logits[:, 0], unmasked.mask_logits[:, 0])
    assert (masked.class_logits[:, 1] != unmasked.class_logits[:, 1]).any()


@pytest.mark.covers("SG-16")
def test_a_query_reads_the_patches_of_its_mask_alone():
    """One block on 2 x 2 patches: the mask before it holds the first patch, whose embedding is (9, 0, 0, -9)."""
    model = SMALL.clone(depth=1, num_queries=1, num_upscale=0, width=4, mlp_features=4)
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
    x[1] = x[0]
    x[1, 8:] += 1  # the lower two patches, which the query does not see
    params = random_like(jax.eval_shape(model.init, jax.random.key(1), x)["params"], 0.5)
    params["patch_embed"]["kernel"] *= 0.1
    params["layernorm"] = {"scale": np.ones(4, np.float32), "bias": np.zeros(4, np.float32)}
    params["pos_embed"] = np.float32([[9], [-9], [-9], [-9]]) * np.float32([1, 0, 0, -1])
    kernel = np.zeros_like(params["heads"]["mask_head_fc3"]["kernel"])
    params["heads"]["mask_head_fc3"] = {"kernel": kernel, "bias": np.float32([1, 0, 0, -1])}

    @jax.jit
    def classes(probs):
        variables = {"params": params, "constants": {"attn_mask_probs": probs}}
        return model.apply(variables, x).class_logits[:, 1]

    (masked, masked_other), (free, free_other) = classes(np.ones(1, np.float32)), classes(np.zeros(1, np.float32))
    np.testing.assert_allclose(masked, masked_other, atol=1e-5)
    assert float(jnp.abs(free - free_other).max()) > 1e-3


def test_errors_name_the_image_size_and_too_many_query_blocks():
    def shapes(model, side):
        return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, side, side, 3))))

    with pytest.raises(ValueError, match=r"x.shape=\(1, 24, 24, 3\): not of image_size; allowed: 16 x 16"):
        shapes(SMALL, 24)


def test_classes_are_counted_in_published_weights_beside_no_object():
    """A head of 6 outputs has 5 classes; an image of the network's size initializes it, and SAM has no classes."""
    weights = {"class_predictor.weight": np.zeros((6, 8)), "class_predictor.bias": np.zeros(6)}
    assert count_classes(SMALL, weights) == 5
    assert count_classes(SAM(ViTDet()), {}) is None
    assert [x.shape for x in example_inputs(SMALL)] == [(1, 16, 16, 3)]
    prompts = example_inputs(SAM(ViTDet(image_size=32, patch_size=16)))
    assert [x.shape for x in prompts] == [(1, 32, 32, 3), (1, 1, 1, 2), (1, 1, 1), (1, 1, 4), (1, 8, 8, 1)]
