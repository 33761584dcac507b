"""A small VGG, and the transfer of a style by it."""

import jax
import numpy as np

from dlcore.interpretability import style_transfer
from dlcore.models.vgg import VGG
from dlcore.optim import create_optimizer

__all__ = ["LAYERS", "MEAN", "MODEL", "STD", "make", "trained"]

MODEL = VGG(stages=(1, 1), width=8)
MEAN, STD = np.zeros(3, np.float32), np.ones(3, np.float32)
LAYERS = {"content_layer": "relu2_1", "style_layers": ("relu1_1", "relu2_1")}


def make(variables, optimizer=None, **settings):
    return style_transfer.learner(
        model=MODEL,
        variables=variables,
        mean=MEAN,
        std=STD,
        optimizer=optimizer or create_optimizer("adam", 0.05),
        **LAYERS,
        **settings,
    )


def trained(learner, source, steps):
    state = jax.jit(learner.init)(jax.random.key(0), source[np.arange(len(source))])
    update = jax.jit(learner.update)
    for _ in range(steps):
        state, metrics = update(state, source[np.arange(len(source))])
    return state, {name: float(m.compute()) for name, m in metrics.items()}
