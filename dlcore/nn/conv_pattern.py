"""The classic layer pattern of a convolutional network, as a text that builds it.

    [(CONV-RELU)*N-POOL?]*M-(FC-RELU)*K-SOFTMAX        usually N up to 5, M large, K from 0 to 2

After CS231n's notes on architectures. `expand_pattern` reads any such text: names joined by -, groups in ( ) or [ ]
repeated by *number, and ? for what may be left out.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.nn.conv import Conv
from dlcore.ops.pooling import max_pool

__all__ = ["FullyConnected", "PatternNet", "conv_pattern", "expand_pattern"]

LAYERS = ("CONV", "RELU", "POOL", "FC", "SOFTMAX")


def conv_pattern(n: int = 2, m: int = 3, k: int = 1, pool: bool = True) -> str:
    """The text for these numbers, as in "[(CONV-RELU)*2-POOL]*3-(FC-RELU)*1-SOFTMAX".

    Raises: ValueError for n or m below 1, or k below 0.
    """
    if min(n, m) < 1 or k < 0:
        raise ValueError(f"n is {n}, m is {m} and k is {k}; n and m must be at least 1 and k at least 0")
    block = f"(CONV-RELU)*{n}" + ("-POOL" if pool else "")
    return f"[{block}]*{m}-" + (f"(FC-RELU)*{k}-" if k else "") + "SOFTMAX"


def expand_pattern(pattern: str, optional: bool = True) -> list[str]:
    """The layers of a pattern in a row: "[(CONV-RELU)*2-POOL?]*2" gives CONV RELU CONV RELU POOL, twice.

    optional: whether what a ? marks is there. Raises: ValueError for an unknown layer or a text that is no pattern.
    """
    tokens = re.findall(r"[A-Za-z]+|\d+|[^\s\w]", pattern)
    if "".join(tokens) != re.sub(r"\s", "", pattern):
        raise ValueError(f"pattern is {pattern!r}; it may hold names, numbers and ( ) [ ] - * ? alone")
    layers, end = _sequence(tokens, 0, pattern, optional)
    if end != len(tokens):
        raise ValueError(f"pattern is {pattern!r}; {tokens[end]!r} is out of place")
    return layers


def _sequence(tokens: list[str], at: int, pattern: str, optional: bool) -> tuple[list[str], int]:
    layers = []
    while True:
        part, at = _item(tokens, at, pattern, optional)
        layers += part
        if at >= len(tokens) or tokens[at] != "-":
            return layers, at
        at += 1


def _item(tokens: list[str], at: int, pattern: str, optional: bool) -> tuple[list[str], int]:
    if at >= len(tokens):
        raise ValueError(f"pattern is {pattern!r}; it ends where a layer should stand")
    token = tokens[at]
    if token in "([":
        part, at = _sequence(tokens, at + 1, pattern, optional)
        if at >= len(tokens) or tokens[at] != {"(": ")", "[": "]"}[token]:
            raise ValueError(f"pattern is {pattern!r}; {token!r} is not closed")
    elif token.upper() in LAYERS:
        part = [token.upper()]
    else:
        raise ValueError(f"pattern is {pattern!r}; {token!r} is none of the layers {', '.join(LAYERS)}")
    at += 1
    while at < len(tokens) and tokens[at] in "*?":
        if tokens[at] == "?":
            part, at = (part if optional else []), at + 1
            continue
        if at + 1 >= len(tokens) or not tokens[at + 1].isdigit():
            raise ValueError(f"pattern is {pattern!r}; a number must follow *")
        part, at = part * int(tokens[at + 1]), at + 2
    return part, at


class FullyConnected(nn.Module):
    """Flatten [B, ...] to [B, D] and multiply: W x + b -> [B, features]. Submodule `dense`.

    The image is read row by row, channels innermost; torch's flattening has channels outermost.
    """

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Flatten and multiply."""
        return nn.Dense(self.features, dtype=self.dtype, name="dense")(x.reshape(x.shape[0], -1))


class PatternNet(nn.Module):
    """The network of a pattern: [B, H, W, C] -> logits [B, num_classes].

    CONV is a 3x3 convolution that keeps the size, POOL halves it (2x2, stride 2), FC flattens and has `hidden` outputs.
    features: of the convolutions up to the first POOL, to the second, and so on; the last number goes on. SOFTMAX ends
    the pattern: it is the layer of class scores, whose softmax is the loss's. Submodules `conv0`, ..., `fc0`, ...,
    `head`, which starts at zero.

    Raises: ValueError for a pattern that does not end in its one SOFTMAX, or that pools below one pixel.
    """

    num_classes: int
    pattern: str = "[(CONV-RELU)*2-POOL]*3-(FC-RELU)*1-SOFTMAX"
    features: Sequence[int] = (32, 64, 128)
    hidden: int = 256
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Logits; training changes nothing here."""
        layers = expand_pattern(self.pattern)
        if layers[-1] != "SOFTMAX" or layers.count("SOFTMAX") != 1:
            raise ValueError(f"pattern is {self.pattern!r}; it must end in SOFTMAX, and have no other")
        convs = dense = pools = 0
        for layer in layers[:-1]:
            if layer == "CONV":
                if x.ndim != 4:
                    raise ValueError(f"pattern is {self.pattern!r}; no CONV may follow an FC")
                width = self.features[min(pools, len(self.features) - 1)]
                x = Conv(width, (3, 3), padding=1, dtype=self.dtype, name=f"conv{convs}")(x)
                convs += 1
            elif layer == "POOL":
                if x.ndim != 4 or min(x.shape[1:3]) < 2:
                    raise ValueError(
                        f"pattern is {self.pattern!r}; POOL {pools} finds nothing to halve in {x.shape[1:]}"
                    )
                x, pools = max_pool(x, (2, 2), (2, 2)), pools + 1
            elif layer == "FC":
                x, dense = FullyConnected(self.hidden, self.dtype, name=f"fc{dense}")(x), dense + 1
            else:
                x = nn.relu(x)
        x = x.reshape(x.shape[0], -1)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return nn.Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="head")(x)
