"""Panels of pairs of views."""

from collections.abc import Callable

import jax

from dlcore.learner import root_key
from dlcore.report.context import ReportContext

__all__ = ["view_panels"]


def view_panels(context: ReportContext, augment: Callable[[jax.Array, jax.Array], jax.Array]) -> list:
    """Show pairs of views of test images.

    Args:
      augment: the random view, `(key, image [H, W, C] in [0, 1]) -> image`.

    Returns:
      The panel, in a list.
    """
    from dlcore.data.augment import to_float
    from dlcore.report import self_supervised as report
    from dlcore.self_supervised.views import two_views

    images = to_float(context.data.test.arrays["image"][:12])
    keys = jax.random.split(root_key(context.flags.seed), len(images))
    views = jax.jit(lambda: two_views(augment, lambda x: x, keys, images))()
    return [report.view_pairs(images, *views)]
