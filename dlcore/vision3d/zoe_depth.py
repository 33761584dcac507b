"""ZoeDepth: metric depth from a network of relative depth, and a head whose bins depend on the pixel.

Bhat et al., "ZoeDepth: zero-shot transfer by combining relative and metric depth" (2023), arXiv:2302.12288.

    z, x_1, ..., x_4 = neck(blocks of BEiT)         z: the coarsest map before fusion; x_l: fused maps
    r, f = relative head of x_4                     r: inverse depth up to a scale; f: what it is computed from
    depth = metric bins of z, x_1, ..., x_4, r, f   see `dlcore.vision3d.metric_bins`

Neck and relative head are those of DPT (`dlcore.vision3d.dpt`), which learn from many data sets; bins from few.
Weights are those of transformers' ZoeDepthForDepthEstimation (`Intel/zoedepth-nyu-kitti`).
"""

from typing import Any, Literal

import jax
from flax import linen as nn

from dlcore.models import beit
from dlcore.models.beit import BEiT
from dlcore.nn.precision import compute_dtype
from dlcore.vision3d.dpt import ClassTokenMaps, DepthHead, DPTNeck
from dlcore.vision3d.metric_bins import Domain, MetricHead

__all__ = ["ClassTokenBEiT", "ZoeDepth"]


class ClassTokenBEiT(ClassTokenMaps, BEiT):
    """A BEiT whose maps hold the class token beside each patch: [B, h, w, 2 width].

    All fields of `BEiT`.
    """


class ZoeDepth(nn.Module):
    """BEiT, neck and head of DPT, and the head of metric depth.

    Args:
      backbone: a BEiT without a head, whose maps hold the class token.
      stages: blocks whose maps are read, the first first.
      channels: channels of each map of the pyramid, the finest first.
      factors: size of each map of the pyramid, as a multiple of the patches' grid.
      features: channels of the fused maps.
      head_features: channels before the last convolution of relative depth.
      domains: ranges of depth, one or two.
      attractors: number of attractors of each fused map, the coarsest first.
      embedding_features: channels of the bins' embeddings.
      attraction: mean or sum over attractors.
      normed: whether bins split the range of depths; otherwise centers are any positive numbers.
      temperatures: least and most temperature of the weights of bins.
      router_heads: heads of the transformer that chooses the domain.
      router_features: units of its perceptrons.
      dtype: dtype of the computation; None for that of the input.
    """

    backbone: ClassTokenBEiT
    stages: tuple[str, ...] = ("block3", "block6", "block9", "block12")
    channels: tuple[int, ...] = (96, 192, 384, 768)
    factors: tuple[float, ...] = (4, 2, 1, 0.5)
    features: int = 256
    head_features: int = 32
    domains: tuple[Domain, ...] = (Domain(),)
    attractors: tuple[int, ...] = (16, 8, 4, 1)
    embedding_features: int = 128
    attraction: Literal["mean", "sum"] = "mean"
    normed: bool = False
    temperatures: tuple[float, float] = (0.0212, 50.0)
    router_heads: int = 4
    router_features: int = 1024
    dtype: Any = None

    TORCH_NAMES = (
        (r"^backbone\.", ""),
        (r"^(metric_head.*)\.attn\.proj\.", r"\1.self_attn.out_proj."),
        (r"^(metric_head.*)\.attn\.", r"\1.self_attn."),
        *beit.TORCH_LAYOUTS[0].names,
        (r"^(neck\..*\.\d+)_", r"\1."),
        (r"^neck\.(reassemble|fusion)_stage_", r"neck.\1_stage."),
        (r"(conditional_log_binomial.*)\.conv1", r"\1.mlp.0"),
        (r"(conditional_log_binomial.*)\.conv2", r"\1.mlp.2"),
        (r"(mlp_classifier)\.conv", r"\1.linear"),
        (r"(seed_bin_regressors|attractors|conditional_log_binomial)_(?!\d)", r"\1."),
        (r"patch_transformer_", "patch_transformer."),
        (r"^(metric_head.*)\.layernorm_before\.", r"\1.norm1."),
        (r"^(metric_head.*)\.layernorm_after\.", r"\1.norm2."),
        (r"^(metric_head.*)\.mlp\.fc", r"\1.linear"),
    )
    TORCH_OLD_NAMES = ((r"^backbone\.(beit\.)?", ""), *beit.TORCH_LAYOUTS[0].older)
    TORCH_OPTIONAL = r"^neck\.fusion_stage\.layers\.0\.residual_layer1\.|mask_token$|relative_position_index$"
    """Layers of files that compute nothing."""

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Predict depth.

        Args:
          x: [B, H, W, C], sides multiples of the backbone's patch size.
          train: apply the backbone's dropout, which needs the rng "dropout".

        Returns:
          [B, H', W'] meters, at least float32; H' and W' are 16 times the sides of the patches' grid.
        """
        return self.depth_and_domains(x, train)["predicted_depth"]

    @nn.compact
    def depth_and_domains(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Predict depth, and the scores of domains where there are several.

        Args:
          x: [B, H, W, C], images.
          train: training mode, see `__call__`.

        Returns:
          {"predicted_depth": [B, H', W'], "domain_logits": [B, number of domains]}.
        """
        dtype, maps = compute_dtype(self.dtype, x, self.variables), self.backbone.features(x, train)
        neck = DPTNeck(self.channels, self.factors, self.features, "project", dtype=dtype, name="neck")
        fused = neck.all_maps([maps[stage] for stage in self.stages])
        head = DepthHead(None, self.head_features, dtype, name="relative_head")
        relative, features = head.scores_and_features(fused[-1])
        metric_head = MetricHead(
            self.domains,
            self.attractors,
            self.embedding_features,
            self.attraction,
            self.normed,
            self.temperatures,
            self.router_heads,
            self.router_features,
            dtype,
            name="metric_head",
        )
        return metric_head(fused, nn.relu(relative), features)
