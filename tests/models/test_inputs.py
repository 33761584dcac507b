import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model
from dlcore.models.inputs import check_clips, check_images


class Reader(nn.Module):
    """A network of images of 4 to 8 pixels, or of clips of at least 3 frames of 4 x 4, that only checks them."""

    clips: bool = False

    def __call__(self, x):
        if self.clips:
            return check_clips(self, x, "stem/conv", (3, 4))
        return check_images(self, x, "stem/conv", 4, 8)


@pytest.mark.parametrize(
    ("clips", "fitting", "wrong"),
    [
        (
            False,
            [(2, 4, 8, 5), (1, 8, 4, 5)],
            {
                (4, 8, 5): r"x.shape=\(4, 8, 5\): Reader takes images; allowed: \[B, H, W, C\]",
                (2, 3, 8, 5): "images of 3x8 do not fit Reader; allowed: 4x4 to 8x8 pixels",
                (2, 4, 3, 5): "images of 4x3 do not fit Reader",
                (2, 9, 4, 5): "images of 9x4 do not fit Reader",
                (2, 4, 9, 5): "images of 4x9 do not fit Reader",
                (2, 4, 8, 3): "3 channels do not fit this Reader; allowed: 5 channels",
            },
        ),
        (
            True,
            [(1, 3, 4, 9, 5), (2, 4, 9, 4, 5)],
            {
                (3, 4, 9, 5): r"x.shape=\(3, 4, 9, 5\): no clips; allowed: \[B, T, H, W, C\]",
                (7, 2, 4, 9, 5): "clips too small; allowed: at least 3 frames of 4x4",
                (7, 3, 3, 9, 5): "clips too small",
                (7, 3, 4, 3, 5): "clips too small",
                (2, 3, 4, 9, 3): "3 channels do not fit this Reader; allowed: 5 channels",
            },
        ),
    ],
)
def test_a_shape_that_a_network_cannot_read_is_named(clips, fitting, wrong):
    """The kernel of the first convolution reads 5 channels and gives 6; without parameters any number is read."""
    built = {"params": {"stem": {"conv": {"kernel": np.zeros((1, 1, 5, 6))}}}}
    read = Reader(clips).apply
    for shape in fitting:
        read(built, np.zeros(shape))
    for shape, message in wrong.items():
        with pytest.raises(ValueError, match=message):
            read(built, np.zeros(shape))
    read({}, np.zeros((*fitting[0][:-1], 3)))
    read({"params": {"stem": {}}}, np.zeros((*fitting[0][:-1], 3)))


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
