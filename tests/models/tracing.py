"""Shapes of a model's variables, tracing each kind of layer once: a ResNet-152 has 155 convolutions of 20 kinds.

with layers_traced_once():
    variables = jax.eval_shape(model.init, key, x)
"""

import contextlib
import dataclasses

import jax.numpy as jnp
from flax import linen as nn

from dlcore.nn import BatchNorm, Conv, LayerNorm

LAYERS = (BatchNorm, Conv, LayerNorm, nn.Dense)
TRACED: dict[tuple, tuple] = {}


def layers_traced_once() -> contextlib.AbstractContextManager:
    """While initializing, a layer with the fields and the input shape of an earlier one gets that one's variables.

    What is left to each layer is its path. The values of all but the first are zeros: for shapes alone.
    """
    return nn.intercept_methods(_trace_once)


def _trace_once(call, args, kwargs, context):
    layer = context.module
    if not isinstance(layer, LAYERS) or context.method_name != "__call__" or not layer.is_initializing():
        return call(*args, **kwargs)
    fields = (
        f"{f.name}={getattr(layer, f.name)}" for f in dataclasses.fields(layer) if f.name not in ("parent", "name")
    )
    key = (type(layer), *((x.shape, x.dtype) for x in args), str(kwargs), *fields)
    if key not in TRACED:
        y = call(*args, **kwargs)
        variables = {collection: layer.variables.get(collection, {}) for collection in ("params", "batch_stats")}
        shapes = [(c, name, v.shape, v.dtype) for c, leaves in variables.items() for name, v in leaves.items()]
        TRACED[key] = (shapes, y.shape, y.dtype)
        return y
    shapes, shape, dtype = TRACED[key]
    for collection, name, leaf_shape, leaf_dtype in shapes:
        layer.put_variable(collection, name, jnp.zeros(leaf_shape, leaf_dtype))
    return jnp.zeros(shape, dtype)
