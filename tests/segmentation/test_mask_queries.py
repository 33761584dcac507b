"""MaskFormer and Mask2Former against transformers', semantic scores by hand, and what does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models.swin import Swin
from dlcore.segmentation.mask2former import Mask2Former
from dlcore.segmentation.mask_queries import semantic_scores
from dlcore.segmentation.pretrained_queries import FAMILIES
from tests.detection.hub_folders import check_published


@pytest.mark.weekly
@pytest.mark.parametrize("name", ["hf_maskformer", "hf_mask2former"])
def test_a_published_folder_equals_transformers(name, tmp_path):
    net = check_published(name, tmp_path, 1e-4)
    assert net.name == {"hf_maskformer": "maskformer_swin_t", "hf_mask2former": "mask2former_swin_t"}[name]


def test_semantic_scores_by_hand():
    """Two queries, one pixel, two classes: 3/4 of the first mask is class 0; the second says "no object" by half."""
    classes = jnp.log(jnp.array([[0.75, 0.25, 1e-9], [0.1, 0.4, 0.5]]))
    masks = jnp.array([[[0.0, jnp.log(4.0)]]])  # chances of 1/2 and 4/5
    expected = [0.5 * 0.75 + 0.8 * 0.1, 0.5 * 0.25 + 0.8 * 0.4]
    np.testing.assert_allclose(semantic_scores(classes, masks)[0, 0], expected, rtol=1e-5)


def test_errors_name_a_wrong_number_of_stages_and_an_unsupported_field():
    model = Mask2Former(Swin(num_classes=0), 3, stages=("stage1", "stage2"))
    with pytest.raises(ValueError, match=r"stages=\('stage1', 'stage2'\): 2 of them; allowed: 4"):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3))))
    with pytest.raises(ValueError, match=r"pre_norm=True: not in dlcore's Mask2Former; allowed: False"):
        FAMILIES[1].model({"pre_norm": True})
