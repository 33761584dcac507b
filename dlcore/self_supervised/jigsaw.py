"""Jigsaw: shuffle the pieces of an image by one of a fixed set of orders, and have a network tell which.

Noroozi & Favaro 2016, arXiv:1603.09246. All pieces pass the same encoder; the head sees their features in the shuffled
order. The orders are chosen far apart, as two that differ in two places alone are often the same to the eye. Of 2 x 2
pieces all 24 orders are taken by default, of 3 x 3 the 64 that the greedy choice finds (9! = 362,880 exist).

    L = -1/B sum_i log p(o_i | f(piece_{o_i(1)}), ..., f(piece_{o_i(n)})),   o_i one of the chosen orders
"""

from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Preprocess
from dlcore.learner import Learner, Range, check_arguments
from dlcore.ops.checks import check_shapes
from dlcore.self_supervised.pieces import cut_pieces, distant_orders
from dlcore.self_supervised.pretext import Task, pretext_learner

__all__ = ["jigsaw", "learner", "order_count"]


def order_count(grid: int, orders: int | None) -> int:
    """Count the classes.

    Args:
      grid: pieces along a side.
      orders: as asked for; None for 24 of 2 x 2 pieces and 64 of more.

    Returns:
      The number of orders.
    """
    check_shapes(grid=(grid, "int 2 to 3"), orders=(orders, "int >= 2 or None"))
    return orders or {2: 24}.get(grid, 64)


def jigsaw(grid: int = 2, orders: int | None = None, gap: int = 1, jitter: int = 1, by_piece: bool = True) -> Task:
    """Build the task.

    Args:
      grid: pieces along a side.
      orders: how many; None for `order_count`.
      gap: pixels between neighboring pieces.
      jitter: pixels by which a piece may move.
      by_piece: normalize every piece by itself.

    Returns:
      (key, example) -> (shuffled pieces [grid * grid, p, p, C], the order's number).
    """
    check_shapes(grid=(grid, "int 2 to 3"), gap=(gap, "int >= 0"), jitter=(jitter, "int >= 0"))
    table = jnp.asarray(distant_orders(grid * grid, order_count(grid, orders)))

    def task(key: jax.Array, example: dict) -> tuple[jax.Array, jax.Array]:
        cut_key, order_key = jax.random.split(key)
        label = jax.random.randint(order_key, (), 0, len(table))
        return cut_pieces(cut_key, example["image"], grid, gap, jitter, by_piece)[table[label]], label

    return task


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    prepare: Preprocess = lambda images: images,
    normalize: Preprocess = lambda images: images,
    grid: Literal[2, 3] = 3,
    orders: Annotated[int | None, Range(2)] = None,
    gap: Annotated[int, Range(0)] = 1,
    jitter: Annotated[int, Range(0)] = 1,
    by_piece: bool = True,
) -> Learner:
    """Train a network to tell how pieces of `{"image": [B, S, S, C], "index": [B]}` were shuffled.

    Args:
      model: model with `order_count` classes, with a hidden layer in its head, see `PieceClassifier`.
      optimizer: any optax transformation.
      prepare: batch of images to floats in [0, 1].
      normalize: pieces to the model's input.
      grid: pieces along a side.
      orders: classes; by default 24 of 2 x 2 pieces and 64 of 3 x 3.
      gap: pixels between neighboring pieces; 0 lets lines that go on tell the order.
      jitter: pixels by which a piece may move; 0 lets the frame of the cells tell.
      by_piece: give every piece the same mean and deviation; without it brightness tells.

    Returns:
      The learner, see `pretext_learner`.
    """
    task = jigsaw(grid, orders, gap, jitter, by_piece)
    return pretext_learner(model, optimizer, task, prepare, normalize, order_count(grid, orders))
