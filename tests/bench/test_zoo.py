"""The benchmark of the zoo builds its networks from flax's layers too."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.models import create_model
from experiments.bench.zoo import flax_layers


def test_flax_layers_compute_what_ours_do():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 32, 32, 3)), jnp.float32)

    def shapes_and_types(train):
        model = create_model("resnet18", num_classes=4, width=4)
        seen = []

        def note(call, args, kwargs, context):
            seen.append(type(context.module))
            return call(*args, **kwargs)

        with nn.intercept_methods(note):
            made = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), x, train=train, mutable=True)[0])
        return made.shape, set(seen)

    ours, used = shapes_and_types(True)
    with flax_layers("resnet18"):
        flax, used_by_flax = shapes_and_types(True)
    assert ours == flax == (2, 4)
    assert nn.BatchNorm in used_by_flax - used
    assert nn.Conv in used_by_flax - used
