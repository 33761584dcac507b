"""The classic layer pattern of a convolutional network, as a string that builds it.

    [(CONV-RELU)*N-POOL?]*M-(FC-RELU)*K-SOFTMAX        usually N up to 5, M large, K from 0 to 2

After CS231n's notes on architectures (2016). `expand_pattern` reads any such string: names joined by -, groups in ( )
or [ ] repeated by *number, and ? after optional parts.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
from flax import linen as nn

from dlcore.choices import is_whole_number
from dlcore.nn._checked import CheckedModule, Count
from dlcore.nn.conv import Conv
from dlcore.nn.dense import Dense
from dlcore.ops.pooling import max_pool
from dlcore.ops.precision import to_acc_dtype

__all__ = ["FullyConnected", "PatternNet", "conv_pattern", "expand_pattern"]

LAYERS = ("CONV", "RELU", "POOL", "FC", "SOFTMAX")


def conv_pattern(n: int = 2, m: int = 3, k: int = 1, pool: bool = True) -> str:
    """Return the pattern string for N, M and K, such as "[(CONV-RELU)*2-POOL]*3-(FC-RELU)*1-SOFTMAX".

    Args:
      n: convolutions in each block, at least 1.
      m: blocks, at least 1.
      k: hidden fully connected layers, at least 0.
      pool: end each block with a pooling.

    Returns:
      The pattern.
    """
    if not all(map(is_whole_number, (n, m, k))) or min(n, m) < 1 or k < 0:
        raise ValueError(f"n={n}, m={m} and k={k}: too small; allowed: whole numbers, n and m from 1, k from 0")
    block = f"(CONV-RELU)*{n}" + ("-POOL" if pool else "")
    return f"[{block}]*{m}-" + (f"(FC-RELU)*{k}-" if k else "") + "SOFTMAX"


def expand_pattern(pattern: str, include_optional: bool = True) -> list[str]:
    """Expand a pattern to its list of layers: "[(CONV-RELU)*2-POOL?]*2" is CONV RELU CONV RELU POOL, twice.

    Args:
      pattern: layer names (CONV, RELU, POOL, FC, SOFTMAX) joined by -, groups in ( ) or [ ] repeated by *number.
      include_optional: keep the parts that a ? marks as optional.

    Returns:
      Layer names in upper case.
    """
    tokens = re.findall(r"[A-Za-z]+|\d+|[^\s\w]", pattern)
    if "".join(tokens) != re.sub(r"\s", "", pattern):
        raise ValueError(f"pattern={pattern!r}: unknown characters; allowed: names, numbers and ( ) [ ] - * ?")
    layers, end = _sequence(tokens, 0, pattern, include_optional)
    if end != len(tokens):
        raise ValueError(f"pattern={pattern!r}: {tokens[end]!r} after a complete pattern; allowed: - and a layer")
    return layers


def _sequence(tokens: list[str], at: int, pattern: str, include_optional: bool) -> tuple[list[str], int]:
    layers = []
    while True:
        part, at = _item(tokens, at, pattern, include_optional)
        layers += part
        if at >= len(tokens) or tokens[at] != "-":
            return layers, at
        at += 1


def _item(tokens: list[str], at: int, pattern: str, include_optional: bool) -> tuple[list[str], int]:
    if at >= len(tokens):
        raise ValueError(f"pattern={pattern!r}: ends too early; allowed: a layer or a group at its end")
    token = tokens[at]
    if token in "([":
        part, at = _sequence(tokens, at + 1, pattern, include_optional)
        if at >= len(tokens) or tokens[at] != {"(": ")", "[": "]"}[token]:
            raise ValueError(f"pattern={pattern!r}: {token!r} is not closed; allowed: matching brackets")
    elif token.upper() in LAYERS:
        part = [token.upper()]
    else:
        raise ValueError(f"pattern={pattern!r}: {token!r} is no layer; allowed: {', '.join(LAYERS)}")
    at += 1
    while at < len(tokens) and tokens[at] in "*?":
        if tokens[at] == "?":
            part, at = (part if include_optional else []), at + 1
            continue
        if at + 1 >= len(tokens) or not tokens[at + 1].isdigit():
            raise ValueError(f"pattern={pattern!r}: * without a number; allowed: *number")
        part, at = part * int(tokens[at + 1]), at + 2
    return part, at


class FullyConnected(CheckedModule):
    """Fully connected layer: flatten [B, ...] to [B, D], then W x + b. Submodule `dense`.

    The image is flattened row by row with channels innermost; torch's flattening has channels outermost.

    Args:
      features: outputs.
    """

    features: Count
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Flatten and multiply.

        Args:
          x: [B, ...].

        Returns:
          [B, features].
        """
        return Dense(self.features, dtype=self.dtype, name="dense")(x.reshape(x.shape[0], -1))


class PatternNet(CheckedModule):
    """The network of a pattern: [B, H, W, C] -> logits [B, num_classes].

    CONV is a 3x3 convolution that keeps the size, POOL halves it (2x2, stride 2), FC flattens. SOFTMAX ends the
    pattern: it is the layer of class scores (the softmax itself is part of the loss). Submodules `conv0`, ..., `fc0`,
      ..., `head`,
    which starts at zero.

    Args:
      num_classes: outputs of the head.
      pattern: pattern, as `expand_pattern` reads it, with optional parts included.
      features: channels of the convolutions before the first POOL, before the second, and so on; the last number holds
        for all later ones.
      hidden_features: outputs of each FC.
      dtype: dtype of the layers before the head; None means by promotion.
    """

    num_classes: Count
    pattern: str = "[(CONV-RELU)*2-POOL]*3-(FC-RELU)*1-SOFTMAX"
    features: Sequence[int] = (32, 64, 128)
    hidden_features: Count = 256
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Compute logits.

        Args:
          x: [B, H, W, C].
          train: unused; training and evaluation are the same.

        Returns:
          [B, num_classes], at least float32.
        """
        layers = expand_pattern(self.pattern)
        if not isinstance(self.features, Sequence) or not self.features:
            raise ValueError(f"features={self.features}: no sequence; allowed: at least one number of channels")
        if layers[-1] != "SOFTMAX" or layers.count("SOFTMAX") != 1:
            raise ValueError(f"pattern={self.pattern!r}: SOFTMAX missing or repeated; allowed: one, at the end")
        convs = dense = pools = 0
        for layer in layers[:-1]:
            if layer == "CONV":
                if x.ndim != 4:
                    raise ValueError(f"pattern={self.pattern!r}: CONV after FC; allowed: all CONV before the first FC")
                width = self.features[min(pools, len(self.features) - 1)]
                x = Conv(width, (3, 3), padding=1, dtype=self.dtype, name=f"conv{convs}")(x)
                convs += 1
            elif layer == "POOL":
                if x.ndim != 4 or min(x.shape[1:3]) < 2:
                    raise ValueError(f"pattern={self.pattern!r}: POOL {pools} of {x.shape[1:]}; allowed: at least 2x2")
                x, pools = max_pool(x, (2, 2), (2, 2)), pools + 1
            elif layer == "FC":
                x, dense = FullyConnected(self.hidden_features, self.dtype, name=f"fc{dense}")(x), dense + 1
            else:
                x = nn.relu(x)
        x = x.reshape(x.shape[0], -1)
        x = to_acc_dtype(x)
        return Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="head")(x)
