"""What a model costs, from shapes alone.

multiply_adds(create_model("mobilenetv1_100"), 224)
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.nn import Conv


def multiply_adds(model, side):
    """Multiplications of all convolutions and dense layers for one image of side x side x 3."""
    counted = []

    def count(call, args, kwargs, context):
        y = call(*args, **kwargs)
        if isinstance(context.module, Conv | nn.Dense) and context.method_name == "__call__":
            kernel = context.module.get_variable("params", "kernel")  # each weight once a pixel of the output
            counted.append(math.prod(kernel.shape) * math.prod(y.shape[1:-1]))
        return y

    with nn.intercept_methods(count):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, side, side, 3))))
    return sum(counted)
