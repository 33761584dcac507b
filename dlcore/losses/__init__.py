"""Losses with leading batch axes: `[..., C] -> [...]`, one loss an example.

Each docstring names the trailing axes that make up an example; all axes before them are batch axes and stay in the
result, so that a call on a batch equals `jax.vmap` of the call on one example. Nothing broadcasts: arguments whose
batch axes differ raise ValueError. Losses that couple examples (NT-Xent, mined triplets) take [N, D] and return a
scalar.
"""

from dlcore.losses.adversarial import (
    discriminator_loss,
    hinge_discriminator_loss,
    hinge_generator_loss,
    least_squares_discriminator_loss,
    least_squares_generator_loss,
    minimax_generator_loss,
    non_saturating_generator_loss,
)
from dlcore.losses.classification import (
    binary_cross_entropy_loss,
    log_softmax,
    multiclass_hinge_loss,
    softmax,
    softmax_cross_entropy_loss,
    squared_hinge_loss,
)
from dlcore.losses.consistency import consistency_loss
from dlcore.losses.contrastive import (
    alignment_loss,
    clip_loss,
    decoupled_contrastive_loss,
    info_nce_loss,
    nt_xent_loss,
    nt_xent_scores,
    siglip_loss,
    uniformity_loss,
)
from dlcore.losses.depth import scale_and_shift_invariant_loss, scale_invariant_depth_loss, surface_normal_loss
from dlcore.losses.detection import (
    complete_iou_loss,
    distance_iou_loss,
    distribution_expectation,
    distribution_focal_loss,
    generalized_iou_loss,
    iou_loss,
    sigmoid_focal_loss,
)
from dlcore.losses.distillation import distillation_loss, hard_distillation_loss
from dlcore.losses.divergence import cross_entropy, entropy, entropy_loss, kl_divergence, kl_divergence_loss
from dlcore.losses.geometry import (
    chamfer_loss,
    chamfer_normal_loss,
    edge_length_loss,
    laplacian_loss,
    normal_consistency_loss,
)
from dlcore.losses.imbalance import (
    class_balanced_weights,
    enet_weights,
    ldam_loss,
    ldam_margins,
    median_frequency_weights,
)
from dlcore.losses.metric_learning import (
    TripletKinds,
    contrastive_loss,
    cosine_embedding_loss,
    hinge_embedding_loss,
    margin_ranking_loss,
    mined_triplet_loss,
    pairwise_distances,
    sample_semi_hard_negatives,
    triplet_kinds,
    triplet_loss,
)
from dlcore.losses.noise import forward_corrected_loss, generalized_cross_entropy_loss
from dlcore.losses.objective import full_loss, masked_mean, multi_task_loss
from dlcore.losses.penalties import elastic_net_penalty, l1_penalty, l2_penalty, orthogonal_penalty
from dlcore.losses.regression import gaussian_nll_loss, huber_loss, l1_loss, l2_loss, mse_loss, smooth_l1_loss
from dlcore.losses.segmentation import dice_loss, multiclass_dice_loss, multiclass_tversky_loss, tversky_loss
from dlcore.losses.sequence import ctc_loss, sequence_loss
from dlcore.losses.style import content_loss, gram_matrix, style_loss, total_variation_loss
from dlcore.ops.kernels import is_kernel

__all__ = [
    "TripletKinds",
    "alignment_loss",
    "binary_cross_entropy_loss",
    "chamfer_loss",
    "chamfer_normal_loss",
    "class_balanced_weights",
    "clip_loss",
    "complete_iou_loss",
    "consistency_loss",
    "content_loss",
    "contrastive_loss",
    "cosine_embedding_loss",
    "cross_entropy",
    "ctc_loss",
    "decoupled_contrastive_loss",
    "dice_loss",
    "discriminator_loss",
    "distance_iou_loss",
    "distillation_loss",
    "distribution_expectation",
    "distribution_focal_loss",
    "edge_length_loss",
    "elastic_net_penalty",
    "enet_weights",
    "entropy",
    "entropy_loss",
    "forward_corrected_loss",
    "full_loss",
    "gaussian_nll_loss",
    "generalized_cross_entropy_loss",
    "generalized_iou_loss",
    "gram_matrix",
    "hard_distillation_loss",
    "hinge_discriminator_loss",
    "hinge_embedding_loss",
    "hinge_generator_loss",
    "huber_loss",
    "info_nce_loss",
    "iou_loss",
    "is_kernel",
    "kl_divergence",
    "kl_divergence_loss",
    "l1_loss",
    "l1_penalty",
    "l2_loss",
    "l2_penalty",
    "laplacian_loss",
    "ldam_loss",
    "ldam_margins",
    "least_squares_discriminator_loss",
    "least_squares_generator_loss",
    "log_softmax",
    "margin_ranking_loss",
    "masked_mean",
    "median_frequency_weights",
    "mined_triplet_loss",
    "minimax_generator_loss",
    "mse_loss",
    "multi_task_loss",
    "multiclass_dice_loss",
    "multiclass_hinge_loss",
    "multiclass_tversky_loss",
    "non_saturating_generator_loss",
    "normal_consistency_loss",
    "nt_xent_loss",
    "nt_xent_scores",
    "orthogonal_penalty",
    "pairwise_distances",
    "sample_semi_hard_negatives",
    "scale_and_shift_invariant_loss",
    "scale_invariant_depth_loss",
    "sequence_loss",
    "siglip_loss",
    "sigmoid_focal_loss",
    "smooth_l1_loss",
    "softmax",
    "softmax_cross_entropy_loss",
    "squared_hinge_loss",
    "style_loss",
    "surface_normal_loss",
    "total_variation_loss",
    "triplet_kinds",
    "triplet_loss",
    "tversky_loss",
    "uniformity_loss",
]
