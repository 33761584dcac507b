"""The all-convolutional network: its count, and that nothing in it pools."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, feature_info
from dlcore.models.all_cnn import AllCNN
from tests.models.parity import parameter_count


def shrinking(jaxpr):
    """The names of all operations, those of inner programs too, that make a smaller map of a map."""
    for equation in jaxpr.eqns:
        inner = [
            getattr(value, "jaxpr", value)
            for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns"))
            if hasattr(value, "eqns")
        ]
        for program in inner:
            yield from shrinking(program)
        maps, made = ([v.aval.shape for v in side if v.aval.ndim == 4] for side in (equation.invars, equation.outvars))
        if not inner and any(after[1] < before[1] for before in maps for after in made):
            yield equation.primitive.name


def shrinks_by(name, train):
    model, x = create_model(name), jnp.zeros((1, 32, 32, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    run = lambda v: model.apply(v, x, train, rngs={"dropout": jax.random.key(0)})  # noqa: E731
    return set(shrinking(jax.make_jaxpr(run)(variables).jaxpr))


@pytest.mark.covers("ZO-06")
@pytest.mark.parametrize("train", [False, True])
def test_there_is_no_pooling_in_the_graph(train):
    assert shrinks_by("all_cnn_c", train) == {"conv_general_dilated"}
    assert "slice" in shrinks_by("nin_cifar", train)  # which is how maxima over windows are taken here


@pytest.mark.covers("ZO-06")
def test_parameter_count():
    # 96 (9 3 + 1) + 2 96 (9 96 + 1)        =   168,768
    # 192 (9 96 + 1) + 3 192 (9 192 + 1)    = 1,161,984
    # 192 (192 + 1) + 10 (192 + 1)          =    38,986
    assert parameter_count("all_cnn_c") == 168_768 + 1_161_984 + 38_986 == 1_369_738


@pytest.mark.covers("ZO-06")
def test_strides_in_place_of_pooling():
    assert feature_info(create_model("all_cnn_c"), (32, 32, 3)) == {
        "stage1": {"stride": 1, "channels": 96},
        "stage2": {"stride": 2, "channels": 192},
        "stage3": {"stride": 5, "channels": 192},  # 6x6: stride 4 and a convolution without padding
    }


@pytest.mark.slow
@pytest.mark.covers("ZO-06")
def test_layers_by_hand():
    model, x = AllCNN(num_classes=3, width=4), jax.random.normal(jax.random.key(0), (2, 10, 9, 3))
    params = jax.jit(model.init)(jax.random.key(1), x)["params"]
    params["head"]["kernel"] = jax.random.normal(jax.random.key(2), (1, 1, 8, 3))
    y = x
    for number, stride, padding in (
        (1, 1, 1),
        (2, 1, 1),
        (3, 2, 1),
        (4, 1, 1),
        (5, 1, 1),
        (6, 2, 1),
        (7, 1, 0),
        (8, 1, 0),
        ("head", 1, 0),
    ):
        layer = params[number if number == "head" else f"conv{number}"]
        y = jax.lax.conv_general_dilated(
            y, layer["kernel"], (stride,) * 2, [(padding,) * 2] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        y = jnp.maximum(y + layer["bias"], 0)
    np.testing.assert_allclose(model.apply({"params": params}, x), y.mean((1, 2)), rtol=1e-4)


@pytest.mark.weekly
def test_dropout_of_the_image_and_behind_strides_in_training_alone():
    assert (AllCNN().input_dropout, AllCNN().dropout) == (0.2, 0.5)
    x = jnp.ones((2, 12, 12, 3))
    for fields, alive in (({"input_dropout": 1.0}, [0, 0, 0]), ({"input_dropout": 0.0, "dropout": 1.0}, [1, 0, 0])):
        model = AllCNN(width=4, **fields)
        variables = jax.jit(model.init)(jax.random.key(0), x)
        maps = model.apply(variables, x, True, method="features", rngs={"dropout": jax.random.key(1)})
        assert [int(m.any()) for m in maps.values()] == alive
        assert all(m.any() for m in model.apply(variables, x, method="features").values())
