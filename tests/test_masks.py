"""What lies under a mask reaches neither a value nor a gradient, NaN and infinity included: every function with a mask.

Each case gives a function of floating arrays, and for each array which of its entries are masked. The function is
evaluated with zeros there, and again with NaN, inf and -inf; the two results must be equal, and so must the gradients.
"""

import importlib
import inspect
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dlcore
from dlcore import losses, metrics, nn, ops
from dlcore.data import augment
from dlcore.metrics.depth import align_scale_and_shift
from dlcore.metrics.interval import HalfInterval
from dlcore.metrics.language import BitsPerDim, Perplexity, token_metrics
from dlcore.metrics.panoptic import PanopticQuality
from dlcore.metrics.point_sets import nearest_squared_distances
from dlcore.metrics.regression import RootMeanSquare
from dlcore.metrics.segmentation import BoundaryIoU
from dlcore.ops.point_sets import nearest_neighbors, normalize_points
from dlcore.self_supervised.barlow_twins import cross_correlation
from dlcore.self_supervised.dino import updated_center
from dlcore.self_supervised.dinov2_objective import koleo_losses
from dlcore.self_supervised.moco import enqueue
from dlcore.self_supervised.prototypes import sinkhorn, sinkhorn_targets
from dlcore.self_supervised.siamese import center_batch, contrast_batch
from dlcore.self_supervised.supcon import supcon_losses
from dlcore.self_supervised.swav import swav_codes
from dlcore.self_supervised.vicreg import vicreg_terms
from dlcore.self_supervised.views import alignment

KEEP = jnp.array([1, 0, 1, 1, 0])
ROWS = np.asarray(KEEP) == 0
LABELS = jnp.array([0, 2, 1, 2, 1])
HALVES, NAMES = jnp.broadcast_to(jnp.arange(8) // 4, (5, 8, 8)), jnp.broadcast_to(jnp.arange(2), (5, 2))
PIXELS = jnp.array([[1, 0, 1, 0], [1, 1, 0, 1]])
HOLES = np.asarray(PIXELS) == 0
EDGES = jnp.array([[0, 2], [1, 4], [3, 0], [2, 1]])


def visible(x):
    return jnp.where(KEEP.reshape(-1, *[1] * (x.ndim - 1)) > 0, x, 0)


def batch_norm(x):
    layer = nn.BatchNorm(use_running_average=False)
    variables = {"params": {"scale": jnp.array([2.0, 0.5]), "bias": jnp.ones(2)}, "batch_stats": {}}
    variables["batch_stats"] = {"mean": jnp.zeros(2), "var": jnp.ones(2)}
    y, new = layer.apply(variables, x, mask=KEEP, mutable=["batch_stats"])
    return visible(y) ** 2, new


def deformable_attention(value):
    """Three queries look at a map of 2 x 3, of which the second column is padding."""
    layer, mask = nn.DeformableAttention(2, 2), jnp.array([[1, 0, 1, 1, 0, 1]]) > 0
    query, reference = jnp.ones((1, 3, 4)), jnp.full((1, 3, 1, 2), 0.5)
    variables = layer.init(jax.random.key(0), query, reference, jnp.zeros((1, 6, 4)), ((2, 3),))
    return layer.apply(variables, query, reference, value, ((2, 3),), mask)


def mixing(mix):
    """Eight draws of the keys, and of each the examples that are none of padding."""

    def mixed(images, targets):
        keys = jax.random.split(jax.random.key(0), 8)
        return [jax.vmap(visible)(v) ** 2 for v in jax.vmap(lambda k: mix(k, images, targets, 1.0, mask=KEEP))(keys)]

    return mixed


IMAGES, VECTORS = ((5, 4, 4, 1), ROWS), ((5, 3), ROWS)
MAP, POINTS = ((2, 4), HOLES), ((5, 2), ROWS)
CASES = {
    "dice_loss": (lambda s, q: losses.dice_loss(s, q, mask=PIXELS), MAP, MAP),
    "tversky_loss": (lambda s, q: losses.tversky_loss(s, q, mask=PIXELS), MAP, MAP),
    "multiclass_dice_loss": (
        lambda s: losses.multiclass_dice_loss(s, jnp.array([[0, 255, 1, 0], [2, 1, 0, 1]]), mask=PIXELS),
        ((2, 4, 3), HOLES),
    ),
    "multiclass_tversky_loss": (
        lambda s: losses.multiclass_tversky_loss(s, jnp.array([[0, 255, 1, 0], [2, 1, 0, 1]]), mask=PIXELS),
        ((2, 4, 3), HOLES),
    ),
    "masked_mean": (lambda v: losses.masked_mean(v, KEEP), ((5,), ROWS)),
    "full_loss": (lambda v: losses.full_loss(v, mask=KEEP), ((5,), ROWS)),
    "full_loss of a sum": (lambda v: losses.full_loss(v, mask=KEEP, reduction="sum"), ((5,), ROWS)),
    "sequence_loss": (lambda v: losses.sequence_loss(v, PIXELS), MAP),
    "sequence_loss of the last": (lambda v: losses.sequence_loss(v, PIXELS, "last"), MAP),
    "nt_xent_scores": (
        lambda a, b: jnp.where(jnp.isinf(s := losses.nt_xent_scores(a, b, mask=KEEP)[0]), 0, s)[np.tile(~ROWS, 2)],
        VECTORS,
        VECTORS,
    ),
    "nt_xent_loss": (lambda a, b: losses.nt_xent_loss(a, b, mask=KEEP), VECTORS, VECTORS),
    "decoupled_contrastive_loss": (lambda a, b: losses.decoupled_contrastive_loss(a, b, mask=KEEP), VECTORS, VECTORS),
    "uniformity_loss": (lambda z: losses.uniformity_loss(z, mask=KEEP), VECTORS),
    "alignment": (lambda a, b: alignment(a, b, KEEP), VECTORS, VECTORS),
    "updated_center": (lambda z: updated_center(jnp.zeros(z.shape[-1]), z[None], KEEP), VECTORS),
    "koleo_losses": (lambda z: koleo_losses(z, KEEP), VECTORS),
    "sinkhorn": (lambda z: sinkhorn(z, 0.5, 3, KEEP), VECTORS),
    "sinkhorn_targets": (lambda z: sinkhorn_targets(z[None], 0.5, 3, KEEP[None]), VECTORS),
    "swav_codes": (lambda z: swav_codes(jnp.stack([z, 2 * z]), jnp.eye(3)[None].repeat(2, 0), KEEP), VECTORS),
    "enqueue": (lambda z: enqueue(jnp.zeros((7, 3)), jnp.int32(1), z, KEEP), VECTORS),
    "BatchNorm.__call__": (batch_norm, ((5, 3, 2), ROWS)),
    "neighbor_sum": (
        lambda f: nn.neighbor_sum(f, edges=EDGES, edge_mask=jnp.array([1, 0, 1, 0]))[jnp.array([0, 3])],
        ((5, 2), np.array([0, 1, 0, 0, 1]) > 0),
    ),
    "mixup": (mixing(augment.mixup), IMAGES, VECTORS),
    "cutmix": (mixing(augment.cutmix), IMAGES, VECTORS),
    "mix_batch": (mixing(lambda k, x, q, a, mask: augment.mix_batch(k, x, q, a, a, mask)), IMAGES, VECTORS),
    "Calibration.of": (lambda s: metrics.Calibration.of(s, LABELS, KEEP), VECTORS),
    "Calibration.of_confidence": (lambda c: metrics.Calibration.of_confidence(c, LABELS > 0, KEEP), ((5,), ROWS)),
    "ConfusionMatrix.of": (lambda s: metrics.ConfusionMatrix.of(s, LABELS, KEEP), VECTORS),
    "PrecisionRecall.of": (lambda s: metrics.PrecisionRecall.of(s, LABELS, KEEP), VECTORS),
    "MeanIoU.of": (lambda s: metrics.MeanIoU.of(s, LABELS, KEEP), VECTORS),
    "BoundaryIoU.of": (lambda s: BoundaryIoU.of((s > 0) * 1, HALVES, 2, KEEP), ((5, 8, 8), ROWS)),
    "PanopticQuality.of": (lambda s: PanopticQuality.of((s > 0) * 1, NAMES, HALVES, NAMES, 2, KEEP), ((5, 8, 8), ROWS)),
    "accuracy": (lambda s: metrics.accuracy(s, LABELS, KEEP), VECTORS),
    "top_k_accuracy": (lambda s: metrics.top_k_accuracy(s, LABELS, 2, KEEP), VECTORS),
    "mean_loss": (lambda v: metrics.mean_loss(v, KEEP), ((5,), ROWS)),
    "align_scale_and_shift": (lambda p, g: jnp.where(PIXELS > 0, align_scale_and_shift(p, g, PIXELS), 0), MAP, MAP),
    "depth_errors": (lambda p, g: metrics.depth_errors(p + 3, g + 3, PIXELS), MAP, MAP),
    "depth_metrics": (
        lambda p, g: metrics.depth_metrics(p + 3, g + 3, mask=KEEP),
        ((5, 2, 2), ROWS),
        ((5, 2, 2), ROWS),
    ),
    "BitsPerDim.of": (lambda v: BitsPerDim.of(v, PIXELS), MAP),
    "Perplexity.of": (lambda v: Perplexity.of(v, PIXELS), MAP),
    "HalfInterval.of": (lambda v: HalfInterval.of(v, KEEP), ((5,), ROWS)),
    "RootMeanSquare.of": (lambda v: RootMeanSquare.of(v, KEEP), ((5,), ROWS)),
    "token_metrics": (
        lambda v, s: token_metrics(v, s, jnp.array([[0, 2, 1, 0], [2, 1, 0, 1]]), PIXELS),
        MAP,
        ((2, 4, 3), HOLES),
    ),
    "clip_loss": (lambda a, b: losses.clip_loss(a, b, mask=KEEP), POINTS, POINTS),
    "siglip_loss": (lambda a, b: losses.siglip_loss(a, b, 0.1, -10.0, mask=KEEP), POINTS, POINTS),
    "chamfer_distance": (lambda p, q: metrics.chamfer_distance(p, q, "mean", KEEP, KEEP), POINTS, POINTS),
    "nearest_squared_distances": (lambda p, q: nearest_squared_distances(p, q, KEEP, KEEP), POINTS, POINTS),
    "chamfer_loss": (lambda p, q: losses.chamfer_loss(p, q, KEEP, KEEP), VECTORS, VECTORS),
    "chamfer_normal_loss": (
        lambda p, q, m, n: losses.chamfer_normal_loss(p, q, m, n, KEEP, KEEP),
        VECTORS,
        VECTORS,
        VECTORS,
        VECTORS,
    ),
    "nearest_neighbors": (lambda q: nearest_neighbors(jnp.eye(3), q, KEEP), VECTORS),
    "normalize_points": (lambda p: visible(normalize_points(p, KEEP)), VECTORS),
    "scale_invariant_depth_loss": (lambda p, g: losses.scale_invariant_depth_loss(p, g + 5, PIXELS), MAP, MAP),
    "scale_and_shift_invariant_loss": (lambda p, g: losses.scale_and_shift_invariant_loss(p, g, PIXELS), MAP, MAP),
    "center_batch": (lambda z: center_batch(z, KEEP), VECTORS),
    "contrast_batch": (lambda q, k: visible(contrast_batch(q, k, 0.5, KEEP)[0]), VECTORS, VECTORS),
    "cross_correlation": (lambda a, b: cross_correlation(a, b, KEEP), VECTORS, VECTORS),
    "vicreg_terms": (lambda a, b: vicreg_terms(a, b, KEEP), VECTORS, VECTORS),
    "supcon_losses": (lambda a, b: supcon_losses(a, b, LABELS, 0.5, KEEP)[np.tile(~ROWS, 2)], VECTORS, VECTORS),
    "DeformableAttention.__call__": (deformable_attention, ((1, 6, 4), np.array([[0, 1, 0, 0, 1, 0]]) > 0)),
    "point_f1": (lambda p, q: metrics.point_f1(p, q, 1.0, KEEP, KEEP), POINTS, POINTS),
    "nms": (
        lambda low, s: ops.nms(jnp.concatenate([low, low + 1], -1), s, 0.2, valid=KEEP > 0) * 1.0,
        POINTS,
        ((5,), ROWS),
    ),
    "warp_boxes": (
        lambda low: visible(
            augment.warp_boxes(
                jnp.concatenate([low + 2, low + 4], -1), augment.affine_warp((9, 9), 20.0), (9, 9), KEEP > 0
            )[0]
        ),
        POINTS,
    ),
}
# A mask of pairs (who attends to whom), of factors or of a kernel, and layers that pass such a mask on; of edges, faces
# and pairs of a mesh, whose vertices are never padding; and a check on the host.
OTHERS = {
    "check_mask",
    "check_points",
    "edge_length_loss",
    "laplacian_loss",
    "mesh_laplacian",
    "normal_consistency_loss",
    "sample_mesh",
    "attention_weights",
    "dot_product_attention",
    "suitable_kernels",
    "MultiHeadAttention.__call__",
    "SelfAttention.__call__",
    "AdditiveAttention.__call__",
    "TransformerDecoderBlock.__call__",
    "TransformerEncoderBlock.__call__",
    "deform_conv",
    "DeformableEncoderLayer.__call__",
    "causal_kernel_mask",
    "GraphConv.__call__",
}


def arrays(case, under):
    rng = np.random.default_rng(0)
    made = []
    for shape, masked in case:
        x = rng.normal(size=shape).astype(np.float32)
        x[masked] = under
        made.append(jnp.asarray(x))
    return made


@pytest.mark.slow(unless=["dice_loss", "tversky_loss", "multiclass_dice_loss"])
@pytest.mark.parametrize("name", CASES)
def test_nothing_under_the_mask_reaches_value_or_gradient(name):
    function, *case = CASES[name]

    def total(*args):
        leaves = [v for v in jax.tree.leaves(function(*args)) if jnp.issubdtype(v.dtype, jnp.floating)]
        return sum((jnp.sum(v) for v in leaves), jnp.zeros(()))

    both = jax.jit(lambda *args: (function(*args), jax.grad(total, tuple(range(len(case))))(*args)))
    want = both(*arrays(case, 0))
    for leaf in jax.tree.leaves(want):
        assert np.isfinite(leaf).all()
    for under in (np.nan, np.inf, -np.inf):
        jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-6), both(*arrays(case, under)), want)


def test_every_function_with_a_mask_has_a_case():
    rooms = ("ops", "nn", "losses", "metrics", "optim", "data", "evaluators", "self_supervised")
    found = set()
    for module in pkgutil.walk_packages(dlcore.__path__, "dlcore."):
        if module.name.split(".")[1] in rooms:
            found |= set(masked(importlib.import_module(module.name)))
    assert found - OTHERS == {name for name in CASES if " " not in name} - {"nms", "warp_boxes"}


def masked(module):
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        if getattr(value, "__module__", None) != module.__name__:
            continue
        methods = inspect.getmembers(value, callable) if inspect.isclass(value) else []
        methods = [(f"{name}.{k}", f) for k, f in methods if k == "__call__" or not k.startswith("_")]
        for label, f in methods or [(name, value)]:
            ours = not inspect.isclass(f) and "dlcore" in (getattr(f, "__module__", None) or "")
            if ours and any(p == "mask" or p.endswith("_mask") for p in inspect.signature(f).parameters):
                yield label
