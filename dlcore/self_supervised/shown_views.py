"""Encoders: train an encoder without labels, and measure its features by them.

measures=[FeatureMeasures(bank_size=5000, knn_k=20, fine_tune=(0.01, 0.1), embeddings=True)]

One protocol evaluates the encoder of every technique on downstream tasks, beside the untrained encoder:

    knn              weighted k-NN: --knn_k neighbors among --bank_size labeled features, temperature 0.07
    probe            logistic regression on the same features
    rank, alpha      effective rank (RankMe) and slope of the spectrum of the test features: whether they collapse
    fine_tune_N      fine-tuning of all weights with N labels, one N for each value of --fine_tune
    supervised       the same encoder, trained only on the bank's labels (with --supervised; slow)

The learner gets no labels. Its `predict` returns `features` and `untrained`, and its state has a `--model` under
"backbone"; the network says how it is applied, by its method `encoder`.
"""

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
