"""The frame of the image classifiers: maps without a head, for every family."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.detection.fcos import FCOS
from dlcore.models import create_model
from dlcore.models.backbone import Backbone, add_mlp_head
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
    chex.assert_shape(variables["params"]["head"]["kernel"], (1, 2))
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


@pytest.mark.weekly(only=["convnext_base", "efficientnet_b0", "inception_v3", "swin_b"])
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


@pytest.mark.covers("TL-01")
def test_a_head_of_two_layers_reads_what_the_linear_one_read():
    """logits = W2 relu(W1 f + b1) + b2 on the features f that the linear head of the same network reads."""
    plain = create_model("small_cnn", num_classes=3, widths=(4,), hidden=6, head_init=nn.initializers.ones)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
    model = add_mlp_head(plain, 5)
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)
    params = variables["params"]
    assert {k: v["kernel"].shape for k, v in params["head"].items()} == {"hidden": (6, 5), "logits": (5, 3)}
    assert set(jax.eval_shape(plain.init, jax.random.key(0), x)["params"]) == set(params)
    # Linear heads that pick three of the six features each.
    picks = [{"kernel": np.eye(6, dtype=np.float32)[:, k : k + 3], "bias": np.zeros(3, np.float32)} for k in (0, 3)]

    @jax.jit
    def run(params):
        return [plain.apply({"params": {**params, "head": head}}, x) for head in picks], model.apply(variables, x)

    features, logits = run(params)
    f = np.concatenate(features, 1)
    head = params["head"]
    want = np.maximum(f @ head["hidden"]["kernel"] + head["hidden"]["bias"], 0) @ head["logits"]["kernel"]
    np.testing.assert_allclose(logits, want + head["logits"]["bias"], rtol=1e-4, atol=1e-4)
    for name in ("all_cnn_c",):
        with pytest.raises(ValueError, match="has a head of its own kind; allowed: those with a linear one"):
            add_mlp_head(create_model(name), 5)
