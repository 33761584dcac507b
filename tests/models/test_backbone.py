"""The frame of the image classifiers: maps without a head, for every family."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from dlcore.detection.fcos import FCOS
from dlcore.models import create_model
from dlcore.models.backbone import Backbone
from dlcore.models.registry import MODELS, input_shape


class Two(Backbone):
    """The image doubled, as the only stage."""

    num_classes: int = 2
    head_init: nn.initializers.Initializer = nn.initializers.ones

    def _stages(self, x, train):
        return 2 * x, {"double": 2 * x}


def test_the_head_averages_over_places_and_classifies():
    x = jnp.arange(4.0).reshape(1, 2, 2, 1)  # twice it has the mean 3; the head's kernel is 1, its bias 0
    logits, variables = Two().init_with_output(jax.random.key(0), x)
    assert logits.tolist() == [[3.0, 3.0]]
    assert variables["params"]["head"]["kernel"].shape == (1, 2)
    maps, variables = Two().init_with_output(jax.random.key(0), x, method="features")
    assert maps["double"].tolist() == (2 * x).tolist()
    assert variables == {}


def one_of_each_family():
    names = {}
    for name in sorted(MODELS):
        module = create_model(name)
        if isinstance(module, Backbone):
            names.setdefault(type(module).__name__, name)
    quick = {"alexnet", "lenet5", "mlp", "small_cnn", "squeezenet1_0", "vgg11", "zfnet"}
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names.values()]


@pytest.mark.parametrize("name", one_of_each_family())
def test_maps_need_no_parameters_of_a_head(name):
    model, images = create_model(name), jax.ShapeDtypeStruct((1, *input_shape(name)), jnp.float32)

    def parameters(method):
        shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, method=method), images)
        return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(shapes["params"])}

    whole, maps = parameters("__call__"), parameters("features")
    assert maps.items() <= whole.items()
    assert not [path for path in maps if path.startswith(("['head", "['classifier", "['Aux", "['aux"))]
    if model.num_classes:
        assert [path for path in whole.keys() - maps.keys() if path.startswith("['head")]


def test_a_detector_carries_no_head():
    detector = FCOS(create_model("resnet8_cifar"), 3, stages=("stage1", "stage2", "stage3"))
    shapes = jax.eval_shape(lambda x: detector.init(jax.random.key(0), x), jnp.zeros((1, 64, 64, 3)))
    assert "head" not in shapes["params"]["backbone"]
