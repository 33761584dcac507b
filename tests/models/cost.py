"""What a model costs, from shapes alone.

parameters, operations = cost(create_model("mobilenetv1_100"), 224)
"""

import functools

import numpy as np

from tests.models.tracing import count_once


@functools.cache
def cost(model, side):
    """The number of parameters, and the multiplications of all convolutions and dense layers for one RGB image."""
    return count_once(model, np.zeros((1, side, side, 3), np.float32))


def multiply_adds(model, side):
    """Multiplications of all convolutions and dense layers for one image of side x side x 3."""
    return cost(model, side)[1]
