"""What a model costs, from shapes alone.

parameters, operations = cost(create_model("mobilenetv1_100"), 224)
"""

import functools
import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.nn import Conv
from tests.models.tracing import layers_traced_once


@functools.cache
def cost(model, side):
    """The number of parameters, and the multiplications of all convolutions and dense layers for one RGB image."""
    products = []

    def count(call, args, kwargs, context):
        y = call(*args, **kwargs)
        if isinstance(context.module, Conv | nn.Dense) and context.method_name == "__call__" and context.module.path:
            kernel = context.module.get_variable("params", "kernel")  # each weight once a pixel of the output
            products.append(math.prod(kernel.shape) * math.prod(y.shape[1:-1]))
        return y

    with nn.intercept_methods(count), layers_traced_once():
        variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, side, side, 3))))
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"])), sum(products)


def multiply_adds(model, side):
    """Multiplications of all convolutions and dense layers for one image of side x side x 3."""
    return cost(model, side)[1]
