import chex
import jax
import jax.numpy as jnp
import pytest

from dlcore.models import create_model

FITTING = {"lenet5": (1, 28, 28, 1), "resnet8_cifar": (1, 8, 8, 3), "mlp": (1, 4, 4, 1)}


@pytest.fixture(scope="module")
def built():
    return {
        name: (create_model(name), jax.jit(create_model(name).init)(jax.random.key(0), jnp.zeros(shape)))
        for name, shape in FITTING.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("lenet5", (1, 4, 4, 1), "4x4.*LeNet5; allowed: 8x8 to 32x32 pixels"),
        ("lenet5", (1, 28, 40, 1), "28x40.*LeNet5; allowed: 8x8 to 32x32 pixels"),
        ("lenet5", (28, 28, 1), r"\(28, 28, 1\).*\[B, H, W, C\]"),
        ("lenet5", (1, 28, 28, 3), "3 channels.*allowed: 1 channels"),
        ("resnet8_cifar", (1, 3, 8, 3), "3x8.*CifarResNet; allowed: at least 4x4 pixels"),
        ("resnet8_cifar", (8, 8, 3), r"\(8, 8, 3\).*\[B, H, W, C\]"),
        ("resnet8_cifar", (1, 8, 8, 1), "1 channels.*allowed: 3 channels"),
        ("mlp", (16,), r"\(16,\).*\[B, ...\]"),
        ("mlp", (1, 17), r"\(1, 17\).*allowed: 16 numbers"),
    ],
)
def test_images_of_wrong_shapes_are_one_clear_error(built, name, shape, said):
    model, variables = built[name]
    for method in ("__call__", "features"):
        with pytest.raises(ValueError, match=said):
            model.apply(variables, jnp.zeros(shape), method=method)


@pytest.mark.slow
@pytest.mark.parametrize("name", FITTING)
def test_images_of_allowed_shapes_pass(built, name):
    model, variables = built[name]
    chex.assert_shape(jax.eval_shape(model.apply, variables, jnp.zeros((2, *FITTING[name][1:]))), (2, 10))
