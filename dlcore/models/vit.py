"""Vision transformers: a transformer's encoder on the sequence of an image's patches.

Dosovitskiy et al., "An image is worth 16x16 words" (2020), arXiv:2010.11929.

    z = [class token; patches E] + positions       E: one dense layer on the P P 3 numbers of a patch, which is a
                                                   convolution of kernel and stride P
    z = z + MHA(LN(z)),  z = z + MLP(LN(z))        L times;    logits = head(LN(z)[class token])

There are N = H W / P^2 tokens, and attention costs N^2: half the patch size is 16x the attention. Locality enters only
through the patches and the learned positions, so a ViT needs more data than a convolutional network.

With pool="mean" there is no class token: the head sees the mean over patches. With `token_last` the class token stands
behind the patches, with the same logits, as attention does not depend on the order of tokens. With
`position_features=P` positions are P channels beside the others, concatenated and not added.

For images of another size the positions are interpolated (bicubic, as in torch); `load_torch(name, weights,
image_size=384)` does so once, with antialias where the weights are timm's, as timm does. Module names are timm's,
which DeiT's weights use (see `dlcore.models.deit`); `TORCH_NAMES` turns them into torchvision's. Torchvision's
published files still call the MLP's layers `linear_1` and `linear_2`, which load too, as do timm's names and
transformers' (whose layer norms have `epsilon=1e-12`).
`patch_size=1` is the transformer on pixels. The bias of the patch layer starts at 0.
"""

import functools
import math
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.models.backbone import PERTURBATIONS, Backbone
from dlcore.models.inputs import check_images
from dlcore.models.torch_weights import Layout
from dlcore.nn import (
    Conv,
    Dense,
    LayerNorm,
    LearnedPositions,
    RMSNorm,
    TransformerEncoderBlock,
    gelu,
    interpolate_positions,
)
from dlcore.nn.initializers import torch_default
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.nn.scanned_blocks import STACK, scan_blocks
from dlcore.ops.precision import acc_dtype_of

__all__ = ["MODELS", "ViT", "from_torch", "qkv_bias_part"]

TORCH_NAMES = (
    (r"^cls_token", "class_token"),
    (r"^patch_embed\.", "conv_proj."),
    (r"^pos_embed\.weight", "encoder.pos_embedding"),
    (r"^norm\.", "encoder.ln."),
    (r"^head\.", "heads.head."),
    (r"^blocks\.(\d+)\.", r"encoder.layers.encoder_layer_\1."),
    (r"\.norm(\d)\.", r".ln_\1."),
    (r"\.attn\.qkv\.", ".self_attention.in_proj_"),
    (r"\.attn\.proj\.", ".self_attention.out_proj."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.3."),
)
TORCH_OLD_NAMES = ((r"\.mlp\.linear_1\.", ".mlp.0."), (r"\.mlp\.linear_2\.", ".mlp.3."))
TIMM_NAMES = (
    (r"^patch_embed\.", "patch_embed.proj."),
    (r"^pos_embed\.weight", "pos_embed"),
    (r"\.layer_scale(\d)$", r".ls\1.gamma"),
)
TRANSFORMERS = Layout(
    r"^embeddings\.patch_embeddings\.",
    names=(
        (r"^cls_token", "embeddings.cls_token"),
        (r"^dist_token", "embeddings.distillation_token"),
        (r"^pos_embed\.weight", "embeddings.position_embeddings"),
        (r"^patch_embed\.", "embeddings.patch_embeddings.projection."),
        (r"^norm\.", "layernorm."),
        (r"^head\.", "classifier."),
        (r"^head_dist\.", "distillation_classifier."),
        (r"^blocks\.", "layers."),
        (r"\.norm1\.", ".layernorm_before."),
        (r"\.norm2\.", ".layernorm_after."),
        (r"\.attn\.proj\.", ".attention.o_proj."),
        (r"^(.*)\.attn\.qkv\.(.*)", r"\1.attention.q_proj.\2 + \1.attention.k_proj.\2 + \1.attention.v_proj.\2"),
    ),
    older=(
        (r"^(vit|deit)\.", ""),
        (r"^cls_classifier\.", "classifier."),
        (r"^encoder\.layer\.", "layers."),
        (r"\.attention\.attention\.(q|k|v)(?:uery|ey|alue)\.", r".attention.\1_proj."),
        (r"\.attention\.output\.dense\.", ".attention.o_proj."),
        (r"\.intermediate\.dense\.", ".mlp.fc1."),
        (r"\.output\.dense\.", ".mlp.fc2."),
    ),
    ignored=r"(^|\.)embeddings\.mask_token$",
    optional=r"^pooler\.",
)
"""Today's names and older ones of ViTForImageClassification, ViTModel and DeiTForImageClassificationWithTeacher."""


def from_torch(path: str, value: np.ndarray, shape: tuple[int, ...], *, antialias: bool = False) -> Any:
    """Interpolate a position table to another square grid, keeping its leading tokens, at most four.

    Args:
      path: path of the leaf, such as "params/pos_embed/embedding".
      value: [1, tokens, width], the entry of the state dict.
      shape: shape of the leaf.
      antialias: interpolate with antialias, as timm.

    Returns:
      The table in the leaf's shape; None where the rule of `dlcore.models.torch_weights` applies. A table of patches
      alone, as DeiT III's, gives the leading tokens zeros.
    """
    if not path.endswith("pos_embed/embedding") or value.shape == shape:
        return None
    leading = shape[1] - value.shape[1]
    if leading in (1, 2) and round(value.shape[1] ** 0.5) ** 2 == value.shape[1]:
        return np.pad(value, ((0, 0), (leading, 0), (0, 0)))
    for prefix in range(5):
        old, new = (round(max(n - prefix, 0) ** 0.5) for n in (value.shape[1], shape[1]))
        if (old * old, new * new) == (value.shape[1] - prefix, shape[1] - prefix):
            table = jnp.asarray(value, jnp.float32)
            return np.asarray(interpolate_positions(table, (old, old), (new, new), prefix, antialias=antialias))
    return None


TIMM = Layout(r"^blocks\.", names=TIMM_NAMES, convert=functools.partial(from_torch, antialias=True))
"""VisionTransformer of timm, and DeiT's own files, which timm reads."""

TORCH_LAYOUTS = (TRANSFORMERS, TIMM)


def qkv_bias_part(path: str, value: np.ndarray, shape: tuple[int, ...]) -> Any:
    """Take the bias of queries or values out of one bias of queries, keys and values.

    Args:
      path: path of the leaf, such as "params/blocks_0/attn/q_bias".
      value: [3 width], or an entry of another leaf.
      shape: shape of the leaf.

    Returns:
      [width]; None where the rule of `dlcore.models.torch_weights` applies.
    """
    if not path.endswith(("/attn/q_bias", "/attn/v_bias")) or value.shape == shape:
        return None
    query, _, values = np.split(value, 3)
    return query if path.endswith("q_bias") else values


class ViT(Backbone):
    """A vision transformer on [B, H, W, C], sides multiples of P = patch_size. Stages block1, block2, ... of stride P.

    Args:
      image_size: side in pixels of the square images whose position table is learned; it is interpolated for other
        sizes.
      patch_size: P, side in pixels of a patch.
      depth: number of blocks.
      width: channels of a token.
      pool: what the head sees: token, the class token, or mean, the mean over patches.
      dropout: probability of dropping a value of the tokens, and of each block's attention output and MLP.
      attention_dropout: probability of dropping an attention weight.
      layer_scale: initial factor of each channel of a block's branches, which is learned; None: they have none.
      epsilon: added to variances by the layer norms; 1e-12 in the models of Hugging Face's transformers.
      token_last: put the class token behind the patches, not before them.
      position_features: channels of a token that hold its learned position, concatenated to the others; 0: positions of
        all channels are added.
      scan_blocks: compute the blocks in one loop, which compiles faster; their parameters are stacked, see
        `dlcore.nn.scanned_blocks`.
    """

    num_classes: int = 1000
    image_size: int = 224
    patch_size: int = 16
    depth: int = 12
    width: int = 768
    num_heads: int = 12
    mlp_features: int = 3072
    pool: str = "token"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    layer_scale: float | None = None
    epsilon: float = 1e-6
    remat: Remat = "none"
    token_last: Annotated[bool, "if changed"] = False
    position_features: Annotated[int, "if changed"] = 0
    scan_blocks: Annotated[bool, "if changed"] = False

    pools = ("token", "mean")
    """What `pool` may be."""

    moves_token = True
    """Whether `token_last` is allowed: False where something reads the leading tokens."""

    swiglu = False
    """Whether a block's MLP is gated: silu(W_g x) W x."""

    num_registers = 0
    """Learned tokens behind the leading ones, without positions."""

    norm_kind = "layer"
    """Kind of all norms: layer or rms."""

    final_norm = True
    """Whether a norm follows the last block."""

    learned_positions = True
    """Whether a learned table of positions is added to tokens; a variant may tell its attention of them instead."""

    antialias_positions = False
    """Whether the table is interpolated with antialias for images of another size."""

    linear_positions = False
    """Whether that interpolation is bilinear; otherwise it is bicubic."""

    INITS = {
        "patch": nn.initializers.variance_scaling(1.0, "fan_in", "normal"),
        "token": nn.initializers.zeros,
        "kernel": nn.initializers.xavier_uniform(),
        "out": torch_default(),
        "bias": nn.initializers.normal(1e-6),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("pool", self.pool, self.pools)
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size={self.image_size}: no multiple; allowed: of patch_size={self.patch_size}")
        if self.token_last and not (self.moves_token and self.pool == "token"):
            raise ValueError("token_last=True: this network has no class token that could stand there; allowed: False")
        if self.position_features >= (self.width if self.learned_positions else 1):
            most = f"0 to width={self.width} - 1" if self.learned_positions else "0, without a table of positions"
            raise ValueError(f"position_features={self.position_features}: out of range; allowed: {most}")

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """(All tokens after the last norm, the patches [B, H / P, W / P, width] after each block)."""
        return self._encode(x, train, {"cls_token": self.INITS["token"]} if self.pool == "token" else {})

    @nn.compact
    def tokens(
        self, x: jax.Array, train: bool = False, masked: jax.Array | None = None, mask_token: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Encode images of which some patches may be hidden; nothing of the head is computed.

        Args:
          x: [B, H, W, C], images.
          masked: [B, N] bool, patches in whose place `mask_token` stands; None: none.
          mask_token: [width - position_features], in place of an embedded patch; None where `masked` is None.

        Returns:
          (class token [B, width], patches [B, N, width]) after the last norm, at least float32.
        """
        if self.pool != "token":
            raise ValueError(f"pool={self.pool!r}: has no class token; allowed: token")
        x, maps = self._encode(x, train, {"cls_token": self.INITS["token"]}, masked, mask_token)
        count = math.prod(maps["block1"].shape[1:3])
        return (x[:, -1], x[:, :count]) if self.token_last else (x[:, 0], x[:, -count:])

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        token = -1 if self.token_last else 0
        return self._classify(x[:, token] if self.pool == "token" else x.mean(1), "head")

    def _block_fields(self) -> dict[str, Any]:
        """Return the fields of every block in which a variant differs."""
        return {}

    def _drop_path_rate(self, i: int) -> float:
        return self.drop_path * i / max(self.depth - 1, 1)

    def _relation(self, i: int, grid: tuple[int, int]) -> dict[str, jax.Array]:
        """Return what the attention of block i is told of positions: a bias, or angles."""
        return {}

    def _embed(self, x: jax.Array, features: int, dtype: Any) -> jax.Array:
        """Return patches [B, rows, columns, features] of images."""
        patch = (self.patch_size, self.patch_size)
        return Conv(
            features, patch, patch, padding="VALID", dtype=dtype, kernel_init=self.INITS["patch"], name="patch_embed"
        )(x)

    def _norm(self, name: str, dtype: Any) -> nn.Module:
        kind = RMSNorm if self.norm_kind == "rms" else LayerNorm
        return kind(self.epsilon, dtype=dtype, name=name)

    def _encode(
        self, x: jax.Array, train: bool, front: dict[str, Any], masked: Any = None, mask_token: Any = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the last tokens, at least float32, and the maps; `front`: initializers of the leading tokens."""
        size = self.patch_size
        check_images(self, x, "patch_embed", smallest=size)
        if any(side % size for side in x.shape[1:3]):
            raise ValueError(f"{x.shape=}: patches do not cover the image; allowed: multiples of patch_size={size}")
        features = self.width - self.position_features
        dtype = compute_dtype(self.dtype, x, self.variables)
        x = self._embed(x, features, dtype)  # [B, h, w, features]
        grid, x = x.shape[1:3], x.reshape(x.shape[0], -1, features)  # [B, N, features]
        if masked is not None:
            x = jnp.where(masked[..., None], mask_token.astype(x.dtype), x)
        x = self._with_positions(x, front, grid)
        first = len(front) + self.num_registers
        if self.token_last:
            x, first = jnp.concatenate([x[:, first:], x[:, :first]], 1), 0
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        last = first + grid[0] * grid[1]
        if self.scan_blocks:
            x, maps = self._scan_blocks(x, train, grid, dtype, first)
        else:
            maps = {}
            for i in range(self.depth):
                block = self._block(f"blocks_{i}", dtype, self._drop_path_rate(i))
                x = block(x, train, **self._relation(i, grid))
                name = f"block{i + 1}"
                if self.has_variable(PERTURBATIONS, name):
                    x = x.at[:, first:last].add(self._perturbation(name, x, grid))
                maps[name] = self._map(x, first, grid)
        return self._norm("norm", acc_dtype_of(x.dtype))(x) if self.final_norm else x, maps

    def _with_positions(self, x: jax.Array, front: dict[str, Any], grid: tuple[int, int]) -> jax.Array:
        """Return all tokens with their positions, of the patches [B, N, features]."""
        extra = [self.param(name, init, (1, 1, x.shape[-1])) for name, init in front.items()]
        x = jnp.concatenate([*(self._on_each(x, token) for token in extra), x], 1)
        positions = LearnedPositions(
            (self.image_size // self.patch_size,) * 2,
            len(front),
            antialias=self.antialias_positions,
            method="bilinear" if self.linear_positions else "bicubic",
            name="pos_embed",
        )
        if self.position_features:
            zeros = jnp.zeros((*x.shape[:2], self.position_features), x.dtype)
            x = jnp.concatenate([x, positions(zeros, grid)], -1)
        elif self.learned_positions:
            x = positions(x, grid)
        if self.num_registers:
            registers = self.param("register_tokens", nn.initializers.normal(0.02), (1, self.num_registers, self.width))
            x = jnp.concatenate([x[:, : len(front)], self._on_each(x, registers), x[:, len(front) :]], 1)
        return x

    def _on_each(self, x: jax.Array, tokens: jax.Array) -> jax.Array:
        """Return tokens [1, R, features] for each image of x, [B, R, features]."""
        return jnp.broadcast_to(tokens.astype(x.dtype), (len(x), *tokens.shape[1:]))

    def _perturbation(self, name: str, x: jax.Array, grid: tuple[int, int]) -> jax.Array:
        """Return what is added to the patches [B, h w, width] of a map."""
        shape = (x.shape[0], grid[0] * grid[1], self.width)
        if not self.has_variable(PERTURBATIONS, name):
            return jnp.zeros(shape, x.dtype)
        return self.get_variable(PERTURBATIONS, name).reshape(shape)

    def _block(self, name: str, dtype: Any, drop_path_rate: float) -> nn.Module:
        block = remat(TransformerEncoderBlock, self.remat, static_argnums=(2,), is_scanned=self.scan_blocks)
        fields: dict[str, Any] = {
            "activation": nn.silu if self.swiglu else gelu,
            "gated": self.swiglu,
            "layer_scale": self.layer_scale,
            "norm": self.norm_kind,
        }
        return block(
            self.num_heads,
            self.mlp_features,
            pre_norm=True,
            dropout_rate=self.dropout,
            attention_dropout_rate=self.attention_dropout,
            drop_path_rate=drop_path_rate,
            epsilon=self.epsilon,
            dtype=dtype,
            kernel_init=self.INITS["kernel"],
            out_kernel_init=self.INITS["out"],
            bias_init=self.INITS["bias"],
            name=name,
            **(fields | self._block_fields()),
        )

    def _scan_blocks(self, x: jax.Array, train: bool, grid: tuple[int, int], dtype: Any, first: int) -> tuple:
        """Return what the last block returns, and the maps, of one loop over the blocks."""
        rates = [self._drop_path_rate(i) for i in range(self.depth)]
        names = [f"block{i + 1}" for i in range(self.depth)]
        relations = [self._relation(i, grid) for i in range(self.depth)]
        inputs: dict[str, Any] = {"relation": jax.tree.map(lambda *leaves: jnp.stack(leaves), *relations)}
        if any(rates):
            inputs["rate"] = jnp.asarray(rates)
        if any(self.has_variable(PERTURBATIONS, name) for name in names):
            inputs["perturbation"] = jnp.stack([self._perturbation(name, x, grid) for name in names])

        def call(block: nn.Module, x: jax.Array, inputs: dict) -> tuple[jax.Array, jax.Array]:
            x = block(x, train, **inputs["relation"], drop_path_rate=inputs.get("rate"))
            if "perturbation" in inputs:
                x = x.at[:, first : first + grid[0] * grid[1]].add(inputs["perturbation"])
            return x, x

        x, outputs = scan_blocks(call, self._block(STACK, dtype, 0.0), x, inputs, self.depth)
        return x, {name: self._map(outputs[i], first, grid) for i, name in enumerate(names)}

    def _map(self, x: jax.Array, first: int, grid: tuple[int, int]) -> jax.Array:
        """Return what `features` tells of all tokens [B, T, width] after a block; patches start at index `first`."""
        return x[:, first : first + grid[0] * grid[1]].reshape(x.shape[0], *grid, self.width)

    def _mean_of_patches(self, x: jax.Array) -> jax.Array:
        """Normalize the mean of the tokens behind the class token, in at least float32 (`fc_norm` in timm)."""
        dtype = acc_dtype_of(x.dtype)
        return self._norm("fc_norm", dtype)(x[:, 1:].astype(dtype).mean(1))

    def _classify(self, x: jax.Array, name: str) -> jax.Array:
        if self.num_classes == 0:
            return x
        return Dense(self.num_classes, dtype=x.dtype, kernel_init=self.head_init, name=name)(x)


TRUNCATED_INITS = ViT.INITS | {
    **dict.fromkeys(("token", "kernel", "out"), nn.initializers.truncated_normal(0.02)),
    "bias": nn.initializers.zeros,
}
"""Of the variants that start as BEiT."""


def _variant(width: int, depth: int, num_heads: int, mlp_features: int, patch_size: int, **fields: Any):
    return functools.partial(
        ViT, width=width, depth=depth, num_heads=num_heads, mlp_features=mlp_features, patch_size=patch_size, **fields
    )


MODELS = {
    "vit_s_16": _variant(384, 12, 6, 1536, 16),
    "vit_b_16": _variant(768, 12, 12, 3072, 16),
    "vit_b_32": _variant(768, 12, 12, 3072, 32),
    "vit_l_16": _variant(1024, 24, 16, 4096, 16),
    "vit_l_32": _variant(1024, 24, 16, 4096, 32),
    "vit_h_14": _variant(1280, 32, 16, 5120, 14),
    "vit_tiny_cifar": _variant(192, 6, 3, 768, 4, image_size=32, num_classes=10),
}
INPUT_SHAPES = {"vit_tiny_cifar": (32, 32, 3)}
