"""OWL-ViT and OWLv2 against transformers', where boxes start, padded texts, and what does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.detection.owl_vit import OWLViT, patch_logits
from dlcore.models.clip import CLIP
from dlcore.pretrained.family import find_family
from tests.detection.hub_folders import check_published
from tests.wiring import assert_wiring


@pytest.mark.weekly
@pytest.mark.parametrize("name", ["hf_owlvit", "hf_owlv2"])
def test_a_published_folder_equals_transformers(name, tmp_path):
    net = check_published(name, tmp_path, 3e-5)
    assert net.name == {"hf_owlvit": "owlvit_base_patch32", "hf_owlv2": "owlv2_base_patch16"}[name]


def test_boxes_start_at_the_lower_right_corner_of_their_patch():
    """One row of two patches: corners at (1/2, 1) and (1, 1), sizes of 1/2 by 1."""
    boxes = 1 / (1 + np.exp(-patch_logits(1, 2)))
    np.testing.assert_allclose(boxes, [[0.5, 1, 0.5, 1], [1, 1, 0.5, 1]], atol=2e-4)


CLIP_FIELDS = {"vocab_size": 9, "end_token": 8, "window": 4, "image_size": 8, "patch_size": 4, "embedding_size": 6}
SMALL = OWLViT(
    CLIP(vision_depth=1, vision_width=8, vision_heads=2, text_depth=1, text_width=6, text_heads=2, **CLIP_FIELDS)
)


@pytest.mark.slow
def test_padded_texts_score_least():
    x, tokens = jnp.ones((1, 8, 8, 3)), jnp.array([[3, 8], [0, 0]])
    outputs, _ = jax.jit(SMALL.init_with_output)(jax.random.key(0), x, tokens)
    assert (outputs.logits[..., 1] == np.finfo(np.float32).min).all()
    assert (outputs.logits[..., 0] > -100).all()


def test_texts_are_as_many_for_each_image():
    with pytest.raises(
        ValueError, match=r"tokens.shape=\(3, 2\): not as many texts an image; allowed: a multiple of 2"
    ):
        jax.eval_shape(lambda: SMALL.init(jax.random.key(0), jnp.ones((2, 8, 8, 3)), jnp.ones((3, 2), int)))


def test_the_wiring_of_owl_vit_is_as_it_was():
    """A regression: the number holds the code as it was."""
    tokens = np.array([[3, 8, 0, 0], [2, 1, 8, 0], [5, 8, 0, 0], [1, 6, 4, 8], [7, 8, 0, 0], [8, 0, 0, 0]])
    assert_wiring(SMALL, (2, 8, 8, 3), tokens, [12.6582, -15.1216])


def test_both_towers_have_one_activation():
    """Where the configuration leaves the text tower's out, it is quick_gelu and 1e-5."""
    for name, value, default in (("hidden_act", "gelu", "quick_gelu"), ("layer_norm_eps", 1e-6, 1e-05)):
        config = {"architectures": ["OwlViTForObjectDetection"], "vision_config": {name: value}, "text_config": {}}
        message = f"{name}={default!r}: not in dlcore's text tower, beside its image tower; allowed: {value!r}"
        with pytest.raises(ValueError, match=message):
            find_family(config).model(config)
