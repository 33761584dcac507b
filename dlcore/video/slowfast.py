"""SlowFast: a pathway of few frames and many channels beside one of many frames and few channels.

    slow: T / alpha frames, C channels         fast: T frames, beta C channels, alpha times the frame rate
    after each stage the fast map, alpha time steps as channels by a convolution of stride alpha, joins the slow one

Feichtenhofer et al. 2019, arXiv:1812.03982: alpha 8, beta 1/8; the fast pathway takes about 20 % of the multiply-adds.
Here each stage is one convolution; the slow pathway's kernels have three taps along time in the last stage only.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.nn import Conv, Dense
from dlcore.nn.precision import compute_dtype
from dlcore.ops import max_pool
from dlcore.ops.precision import to_acc_dtype

__all__ = ["SlowFast"]


class SlowFast(nn.Module):
    """Classify clips in two pathways.

    Modules of the slow pathway are `slow0`, ..., of the fast one `fast0`, ..., and of the connections `lateral0`, ...

    Args:
      num_classes: number of classes.
      width: C, output channels of the slow pathway's first stage; each further stage doubles them.
      alpha: frames of the fast pathway for each of the slow one.
      beta: one channel of the fast pathway for so many of the slow one: the paper's 1 / beta.
      dtype: dtype of the computation; None takes the input's.
    """

    num_classes: int
    width: Annotated[int, Range(1)] = 32
    alpha: Annotated[int, Range(1)] = 4
    beta: Annotated[int, Range(1)] = 8
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify.

        Args:
          x: [B, T, H, W, C], T a multiple of alpha.
          train: ignored; the network is the same in training.

        Returns:
          logits, [B, num_classes].
        """
        if x.ndim != 5 or x.shape[1] % self.alpha:
            raise ValueError(
                f"x.shape={x.shape}: no such clips; allowed: [B, T, H, W, C], T a multiple of {self.alpha}"
            )
        dtype = compute_dtype(self.dtype, x, self.variables)
        fast = x.astype(dtype)
        slow = fast[:, :: self.alpha]  # [B, T / alpha, H, W, C]
        for i, channels in enumerate((self.width, 2 * self.width, 4 * self.width)):
            taps = 3 if i == 2 else 1
            thin = max(1, channels // self.beta)
            slow = nn.relu(Conv(channels, (taps, 3, 3), dtype=dtype, name=f"slow{i}")(slow))
            fast = nn.relu(Conv(thin, (3, 3, 3), dtype=dtype, name=f"fast{i}")(fast))
            if min(slow.shape[2:4]) > 1:
                slow, fast = (max_pool(path, (1, 2, 2), (1, 2, 2)) for path in (slow, fast))
            if i < 2:
                # Lateral connection: the fast pathway, strided in time, joins the slow one.
                lateral = Conv(
                    2 * thin, (self.alpha, 1, 1), (self.alpha, 1, 1), "VALID", dtype=dtype, name=f"lateral{i}"
                )
                slow = jnp.concatenate([slow, lateral(fast)], -1)
        pooled = jnp.concatenate([path.mean((1, 2, 3)) for path in (slow, fast)], -1)
        logits = Dense(self.num_classes, dtype=dtype, name="logits")(pooled)
        return to_acc_dtype(logits)
