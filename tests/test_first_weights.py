"""How weights start: the initializer of a parameter makes the program of the one that is named here.

Programs are compared, and nothing is drawn. Named are heads of zeros, and draws other than the layer's own.
"""

from collections.abc import Callable
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax.core.scope import Scope

from dlcore.classification.architecture_search import CellNet, Controller
from dlcore.classification.factorized_search import ChildNet, FactorizedController
from dlcore.classification.hard_attention import GlimpseNetwork
from dlcore.classification.recurrent_attention import RecurrentAttention
from dlcore.interpretability.fast_style import StyleNet
from dlcore.nn.initializers import orthogonal
from dlcore.nn.recurrent import orthogonal_by_gate
from dlcore.rl.behavior_cloning import GaussianActor
from dlcore.rl.gail import Discriminator
from dlcore.rl.model_based import Dynamics
from dlcore.rl.networks import RecurrentActorCritic
from dlcore.self_supervised import beit
from dlcore.self_supervised.ijepa import BlockPredictor
from dlcore.self_supervised.networks import DINONet
from dlcore.self_supervised.patch_predictors import PatchViT
from tests import patch_toys
from tests.self_supervised.test_beit import Pixels
from tests.self_supervised.test_networks import Flat

NORMAL, ZEROS = nn.initializers.normal, nn.initializers.zeros
PLACES = np.zeros(6, np.int32)


def program(initializer: Callable, *arguments) -> str:
    """Write the program that draws a parameter of a shape, and perhaps a dtype."""
    return str(jax.make_jaxpr(lambda key: initializer(key, *arguments))(jax.random.key(0)))


def starts(init: Callable, *arguments) -> dict[str, tuple[str, tuple]]:
    """The program of each parameter's initializer and what it is made for, by the parameter's path."""
    found, param = {}, Scope.param

    def noted(scope, name, initializer, *wanted, **more):
        found["/".join((*scope.path, name))] = program(initializer, *wanted), wanted
        return param(scope, name, initializer, *wanted, **more)

    with mock.patch.object(Scope, "param", noted):
        jax.eval_shape(init, jax.random.key(0), *arguments)
    return found


def image(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def glimpses(key: jax.Array, scene: jax.Array) -> None:
    """Initialize both networks of hard attention."""
    network = GlimpseNetwork(3, grid=2, width=2)
    network.init(key, scene, method="locate")
    network.init(key, scene, method="classify")


def masked_codes(key: jax.Array) -> None:
    """Initialize BEiT."""
    model, tokenizer = patch_toys.ToyEncoder(), Pixels()
    beit.learner(model=model, tokenizer=tokenizer, num_codes=3, optimizer=optax.sgd(0.1)).init(key, patch_toys.ROWS)


def blocks(key: jax.Array, tokens: jax.Array) -> None:
    """Initialize the predictor of I-JEPA."""
    BlockPredictor(1, 4, 1, 4).init(key, tokens, np.ones((1, 4), bool), np.ones((1, 2, 4), bool), (2, 2))


def hidden_patches(key: jax.Array, x: jax.Array) -> None:
    """Initialize a ViT that hides patches."""
    PatchViT(2, 1, 8, 1, 4).init(key, x, masked=np.ones((1, 4), bool))


@pytest.mark.parametrize(
    ("init", "arguments", "expected"),
    [
        (CellNet(3, 2, 1).init, [image(1, 4, 4, 1), PLACES], {"head/kernel": ZEROS}),
        (
            Controller(4).init,
            [PLACES],
            {"head/kernel": ZEROS} | {f"OptimizedLSTMCell_0/h{gate}/kernel": orthogonal() for gate in "ifgo"},
        ),
        (ChildNet((), 3, 2).init, [image(1, 4, 4, 1)], {"head/kernel": ZEROS}),
        (FactorizedController((2, 3)).init, [PLACES], {"logits": ZEROS}),
        (glimpses, [image(1, 4, 4, 1)], {"place/kernel": ZEROS, "head/kernel": ZEROS}),
        (
            RecurrentAttention(3, 2, 4).init,
            [image(1, 4), image(1, 2, 2, 2, 1), image(1, 2)],
            {f"{head}/kernel": ZEROS for head in ("classifier", "policy", "baseline")},
        ),
        (
            StyleNet(num_styles=2, width=2, num_blocks=0).init,
            [image(1, 4, 4, 3), PLACES[:1]],
            {"head/kernel": NORMAL(1e-3)},
        ),
        (GaussianActor(2, 4).init, [image(1, 3)], {"mean/kernel": orthogonal(0.01), "log_std": ZEROS}),
        (
            RecurrentActorCritic(None, 2, 4).init,
            [(image(1, 4), image(1, 4)), image(1, 3)],
            {"encoder/kernel": orthogonal(2**0.5), "hidden_kernel": orthogonal_by_gate(4), "log_std": ZEROS}
            | {"actor/kernel": orthogonal(0.01), "critic/kernel": orthogonal(1.0)},
        ),
        (Discriminator(4).init, [image(1, 3)], {"Dense_2/kernel": ZEROS}),
        (
            Dynamics(2, 4, 3).init,
            [image(3, 1, 5)],
            {f"kernel{i}": nn.initializers.lecun_normal(batch_axis=0) for i in range(3)},
        ),
        (masked_codes, [], {"kernel": NORMAL(0.02)}),
        (blocks, [image(1, 4, 3)], {"mask_token": NORMAL(0.02)}),
        (
            hidden_patches,
            [image(1, 4, 4, 1)],
            {"patch_embed/kernel": nn.initializers.xavier_uniform(), "mask_token": NORMAL(0.02)},
        ),
        (DINONet(Flat(), 5, 4, 3).init, [image(1, 2, 2, 3)], {"prototypes": NORMAL(1.0)}),
    ],
)
def test_a_parameter_starts_by_the_initializer_that_is_named_here(init, arguments, expected):
    found = starts(init, *arguments)
    for path, initializer in expected.items():
        drawn, wanted = found[path]
        assert drawn == program(initializer, *wanted), path
