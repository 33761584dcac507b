"""Networks of clips: torchvision's parameter counts and names of tensors, and weights laid out anew."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import load_torch
from dlcore.models.video_resnet import VIDEO_MODELS, VideoResNet, from_torch_names, video_state_dict_names
from tests.models.tracing import layers_traced_once


def shapes_of(model, shape=(1, 4, 16, 16, 3)):
    return jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))


@pytest.mark.covers("VD-05")
@pytest.mark.parametrize(
    ("name", "count"), [("r3d_18", 33_371_472), ("mc3_18", 11_695_440), ("r2plus1d_18", 31_505_325)]
)
def test_parameters_are_torchvisions(name, count):
    params = shapes_of(VIDEO_MODELS[name]())["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


def test_names_of_tensors_are_torchvisions():
    # 20 convolutions and norms in a network of 8 blocks, 3 of them with a projection, and the layer at the end.
    names = video_state_dict_names(shapes_of(VIDEO_MODELS["r3d_18"]()))
    assert len(names) == 20 + 20 * 4 + 2
    assert {"stem.0.weight", "stem.1.running_var", "layer2.0.downsample.1.bias", "layer4.1.conv2.0.weight"} <= set(
        names
    )
    factored = video_state_dict_names(shapes_of(VIDEO_MODELS["r2plus1d_18"]()))
    wanted = {"stem.3.weight", "stem.4.weight", "layer1.0.conv1.0.0.weight", "layer1.0.conv1.0.1.running_mean"}
    assert wanted | {"layer1.0.conv1.0.3.weight", "layer1.0.conv1.1.weight", "fc.bias"} <= set(factored)


@pytest.mark.slow
def test_weights_are_laid_out_anew():
    model = VideoResNet(3, width=4)
    shapes = shapes_of(model)
    rng, names = np.random.default_rng(0), video_state_dict_names(shapes)
    state = {}
    for name, (first, *rest) in names.items():
        shape = shapes[first][rest[0]][rest[1]].shape
        order = (4, 3, 0, 1, 2) if len(shape) == 5 else tuple(range(len(shape)))[::-1]
        state[name] = np.abs(rng.normal(size=[shape[i] for i in order])).astype(np.float32)
    with layers_traced_once():
        filled = from_torch_names(model, {**state, "stem.1.num_batches_tracked": np.zeros(())})
    assert jax.tree.map(np.shape, filled) == jax.tree.map(lambda leaf: leaf.shape, shapes)
    kernel = filled["params"]["stem_0"]["kernel"]
    assert kernel[2, 1, 5, 0, 3] == state["stem.0.weight"][3, 0, 2, 1, 5]
    with layers_traced_once(), pytest.raises(ValueError, match=r"1 missing: fc\.bias"):
        from_torch_names(model, {k: v for k, v in state.items() if k != "fc.bias"})


@pytest.mark.slow
@pytest.mark.weekly(unless=["mc3_18"])
@pytest.mark.parametrize("name", VIDEO_MODELS)
def test_load_torch_takes_torchvisions_names(name):
    """Kernels [out, in, t, h, w] become [t, h, w, in, out]; what is missing is counted."""
    shapes = shapes_of(VIDEO_MODELS[name]())
    rng = np.random.default_rng(0)
    weights = {}
    for key, path in video_state_dict_names(shapes).items():
        shape = functools.reduce(lambda node, part: node[part], path, shapes).shape
        values = rng.normal(size=shape[::-1] if len(shape) < 5 else (*shape[:-3:-1], *shape[:-2]))
        weights[key] = np.abs(values) if key.endswith("running_var") else values
    got = load_torch(name, {f"module.{key}": value for key, value in weights.items()})
    for key, path in video_state_dict_names(shapes).items():
        value = weights[key].transpose(2, 3, 4, 1, 0) if weights[key].ndim == 5 else weights[key].T
        leaf = functools.reduce(lambda node, part: node[part], path, got)
        np.testing.assert_array_equal(leaf, value.astype(np.float32))
    with pytest.raises(
        ValueError, match=r"does not fit VideoResNet of kind \w+; 1 missing: fc.bias; 1 left over: fc.b;"
    ):
        load_torch(name, {key.replace("fc.bias", "fc.b"): value for key, value in weights.items()})
