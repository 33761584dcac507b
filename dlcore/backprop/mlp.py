"""Back-propagation through a perceptron with sigmoid layers, derived by hand.

Rumelhart, Hinton & Williams 1986. Layer l: z = a_(l-1) W_l + b_l, a = σ(z); the last layer gives scores and the loss is
the mean cross-entropy. With δ_l = ∂L/∂z_l

    δ_last = (softmax(z) - onehot) / N
    δ_(l-1) = (δ_l W_lᵀ) σ'(z_(l-1)),    σ' = (1 - a) a
    ∂L/∂W_l = a_(l-1)ᵀ δ_l,    ∂L/∂b_l = Σ_n δ_l

Each δ follows from the next layer's, so all gradients together cost one or two forward passes.
"""

from collections.abc import Sequence

import numpy as np

from dlcore.backprop.layers import affine_forward, sigmoid_forward, softmax_loss
from dlcore.ops.checks import check_shapes

__all__ = ["mlp_gradients", "mlp_loss"]

Layers = Sequence[tuple[np.ndarray, np.ndarray]]


def mlp_loss(layers: Layers, x: np.ndarray, label: np.ndarray) -> float:
    """Mean cross-entropy of a sigmoid perceptron.

    Args:
      layers: (W [D, M], b [M]) of each layer.
      x: [N, D].
      label: [N] int.

    Returns:
      The loss in nats.

    Raises:
      ValueError: there is no layer, the shapes do not fit together, or a label is no class.
    """
    return softmax_loss(_activations(layers, x)[-1], label)[0]


def mlp_gradients(layers: Layers, x: np.ndarray, label: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Gradients of `mlp_loss`, derived by hand.

    Args:
      layers: (W [D, M], b [M]) of each layer.
      x: [N, D].
      label: [N] int.

    Returns:
      (∂L/∂W, ∂L/∂b) of every layer.

    Raises:
      ValueError: see `mlp_loss`.
    """
    activations = _activations(layers, x)
    delta = softmax_loss(activations[-1], label)[1]  # [N, C], gradient of the scores
    gradients = []
    for (w, _), a in zip(reversed(layers), reversed(activations[:-1]), strict=True):
        gradients.append((a.T @ delta, delta.sum(0)))
        # Through the layer, then through its sigmoid.
        delta = (delta @ w.T) * (1 - a) * a
    return gradients[::-1]


def _activations(layers: Layers, x: np.ndarray) -> list[np.ndarray]:
    """x, the output of every hidden layer, and the scores."""
    if not layers:
        raise ValueError("layers=[]: none; allowed: at least one (W [D, M], b [M])")
    check_shapes(x=(x, "N D"))
    outputs = [x]
    for w, b in layers[:-1]:
        outputs.append(sigmoid_forward(affine_forward(outputs[-1], w, b)[0])[0])
    return [*outputs, affine_forward(outputs[-1], *layers[-1])[0]]
