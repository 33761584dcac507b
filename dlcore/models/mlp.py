"""The multi-layer perceptron.

Rumelhart, Hinton & Williams, "Learning representations by back-propagating errors", Nature 323 (1986).

    h_0 = flatten(x),  h_i = dropout(f(W_i h_{i-1} + b_i)),  logits = W h_n + b

Dropout is inverted (scaled in training) or vanilla (scaled in use); DropConnect drops weights of the hidden layers.
Without hidden layers this is the linear classifier. The head starts at zero (initial loss log C), unlike in the
original.
"""

import functools
from typing import Annotated, Literal

import jax
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.learner import Range
from dlcore.models.backbone import Backbone
from dlcore.models.inputs import check_floats
from dlcore.nn import Dense, DropConnect, VanillaDropout
from dlcore.nn.precision import compute_dtype
from dlcore.ops.precision import to_acc_dtype

__all__ = ["MLP", "MODELS"]

ACTIVATIONS = {"relu": nn.relu, "tanh": nn.tanh, "sigmoid": nn.sigmoid, "gelu": nn.gelu, "identity": lambda x: x}


class MLP(Backbone):
    """Fully connected layers on [B, ...], flattened in row-major order. Stages: hidden1, hidden2, ...

    Args:
      hidden: units of each hidden layer; none at all gives the linear classifier.
      activation: nonlinearity after each hidden layer.
      dropout: probability of dropping a hidden unit in training.
      dropout_form: inverted, units that stay are scaled in training; or vanilla, all units are scaled in use.
      drop_connect: probability of dropping a weight into a hidden unit in training, drawn for each example.
    """

    num_classes: int = 10
    hidden: Annotated[tuple[int, ...], Range(1)] = (128, 128)
    activation: Literal["relu", "tanh", "sigmoid", "gelu", "identity"] = "relu"
    dropout: float = 0.0
    dropout_form: Annotated[Literal["inverted", "vanilla"], "if changed"] = "inverted"
    drop_connect: Annotated[float, "if changed"] = 0.0

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """(The last layer, the hidden layers after their activation: {"hidden1": [B, hidden[0]], ...})."""
        self._check(x)
        activation = ACTIVATIONS[self.activation]
        dtype = compute_dtype(self.dtype, x, self.variables)
        x = x.reshape(x.shape[0], -1)
        stages = {}
        for i, size in enumerate(self.hidden, 1):
            options = {"dtype": dtype, "kernel_init": nn.initializers.he_normal(), "name": f"dense{i}"}
            if self.drop_connect:
                x = DropConnect(size, self.drop_connect, deterministic=not train, **options)(x)
            else:
                x = Dense(size, **options)(x)
            x = stages[f"hidden{i}"] = self.perturb(f"hidden{i}", activation(x))
            if self.dropout_form == "vanilla":
                x = VanillaDropout(1 - self.dropout, deterministic=not train, name=f"dropout{i}")(x)
            else:
                x = nn.Dropout(self.dropout, deterministic=not train, name=f"dropout{i}")(x)
        return x, stages

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        return self._linear(to_acc_dtype(x))

    def _check(self, x: jax.Array) -> None:
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("dropout_form", self.dropout_form, ("inverted", "vanilla"))
        check_floats("x", x)
        if x.ndim < 2:
            raise ValueError(f"x.shape={x.shape}: no batch of examples; allowed: [B, ...]")
        built = self.variables.get("params", {}).get("dense1" if self.hidden else "head", {}).get("kernel")
        if built is not None and x[0].size != built.shape[0]:
            raise ValueError(f"x.shape={x.shape}: examples do not fit this MLP; allowed: {built.shape[0]} numbers each")


MODELS = {"mlp": functools.partial(MLP)}
INPUT_SHAPES = dict.fromkeys(MODELS, (32, 32, 3))
