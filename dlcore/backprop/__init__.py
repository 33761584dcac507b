"""Back-propagation by hand: a small engine, layers with their backward passes, and the check of a gradient."""

from dlcore.backprop.custom_op import sigmoid
from dlcore.backprop.draw import draw
from dlcore.backprop.engine import Gate, Value, apply, backward, forward, topological, zero_grad
from dlcore.backprop.gradcheck import numerical_gradient
from dlcore.backprop.mlp import mlp_gradients, mlp_loss
from dlcore.diagnostics.gradient_check import relative_error, verdict

__all__ = [
    "Gate",
    "Value",
    "apply",
    "backward",
    "draw",
    "forward",
    "mlp_gradients",
    "mlp_loss",
    "numerical_gradient",
    "relative_error",
    "sigmoid",
    "topological",
    "verdict",
    "zero_grad",
]
