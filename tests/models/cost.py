"""What a model costs, from shapes alone.

parameters, operations = cost(create_model("mobilenetv1_100"), 224)
"""

import functools

import numpy as np

from dlcore.models import feature_info
from tests.models.tracing import count_once, layers_traced_once


@functools.cache
def cost(model, side):
    """The number of parameters, and the multiplications of all convolutions and dense layers for one RGB image."""
    return count_once(model, np.zeros((1, side, side, 3), np.float32))


def stages_of(model, *shape):
    """`dlcore.models.feature_info`, with each kind of layer traced once."""
    with layers_traced_once():
        return feature_info(model, *shape)


def multiply_adds(model, side):
    """Multiplications of all convolutions and dense layers for one image of side x side x 3."""
    return cost(model, side)[1]
