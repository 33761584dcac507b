"""Masked autoencoders: a ViT reads the few patches that are left of an image, and a small one fills in the others.

He et al., "Masked autoencoders are scalable vision learners" (2021), arXiv:2111.06377; of clips, Tong et al. 2022,
"VideoMAE", arXiv:2203.12602.

    order = argsort(noise),  the first N (1 - ratio) patches are seen
    h = LN(blocks([class token; W patches[seen] + P[seen]]))                               the encoder
    y = [class token; D h at the seen places, a learned mask token at the others] + P'     back in their order
    prediction = V LN(blocks'(y))                                                          p p C numbers per patch

The number of seen patches is fixed, so shapes are static, and the encoder computes for nothing else: even the first
layer embeds seen patches only. Positions are fixed sines, so that images of any size of whole patches may come. At the
published size the parameters and the two tables of sines for 224 x 224 pixels are 111,907,840 numbers.

`load_torch` takes the state dict of transformers' ViTMAEForPreTraining (and VideoMAEForPreTraining), and facebook's of
MAE; the tables in it are checked. With `decoder_depth=0` there is an encoder alone, whose weights every network of
transformers around it has (ViTMAEModel, VideoMAEModel, VideoMAEForVideoClassification). The encoder has fused layers of
queries, keys and values; VideoMAE's keys have no bias, which is zero here and changes no attention.
"""

import functools
import re
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.learner import Range
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_floats
from dlcore.models.torch_weights import fill_from_torch
from dlcore.models.weight_files import unwrap_state_dict
from dlcore.nn import Dense, LayerNorm, TransformerEncoderBlock, gelu, grid_positions, sinusoidal_encoding
from dlcore.ops import patch_grid, patchify
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["MAE", "MODELS", "VideoMAE", "example_inputs", "from_torch_names", "visible_count"]


def visible_count(patches: int, mask_ratio: float) -> int:
    """Count the patches that the encoder sees.

    Args:
      patches: N, of an image.
      mask_ratio: share that is masked.

    Returns:
      N (1 - ratio), rounded down.
    """
    check_shapes(patches=(patches, "int >= 1"), mask_ratio=(mask_ratio, "0 to 1"))
    count = int(patches * (1 - mask_ratio) + 1e-9)
    if not 0 < count < patches:
        raise ValueError(f"{mask_ratio=}: leaves {count} of {patches} patches; allowed: 1 to {patches - 1} seen")
    return count


class MAE(CheckedFields):
    """A masked autoencoder of images [B, H, W, C], sides multiples of P = patch_size.

    Args:
      channels: C, of the images.
      patch_size: P, side in pixels of a patch.
      depth: blocks of the encoder.
      width: features of a token of the encoder.
      num_heads: attention heads of the encoder.
      mlp_features: hidden units of the encoder's MLPs.
      decoder_depth: blocks of the decoder; 0 for an encoder alone, of which `encode` is called.
      decoder_width: features of a token of the decoder.
      decoder_heads: attention heads of the decoder.
      decoder_features: hidden units of the decoder's MLPs.
      mask_ratio: share of the patches that are masked.
      epsilon: epsilon of the layer norms; 1e-12 in transformers.
      dtype: dtype of the computation; None takes the parameters'.
      table_size: side in pixels of the square images whose position table is a parameter, as published files hold it;
        None computes the sines, for images of any size.
    """

    channels: int
    patch_size: Annotated[int, Range(1)] = 16
    depth: Annotated[int, Range(1)] = 12
    width: Annotated[int, Range(4)] = 768
    num_heads: Annotated[int, Range(1)] = 12
    mlp_features: Annotated[int, Range(1)] = 3072
    decoder_depth: Annotated[int, Range(0)] = 8
    decoder_width: Annotated[int, Range(4)] = 512
    decoder_heads: Annotated[int, Range(1)] = 16
    decoder_features: Annotated[int, Range(1)] = 2048
    mask_ratio: Annotated[float, Range(0, 1)] = 0.75
    epsilon: float = 1e-6
    dtype: Any = None
    table_size: Annotated[int, Range(1)] | None = None

    CLASS_TOKEN = True
    """Whether a token that is no patch stands in front."""

    final_norm = True
    """Whether the encoder ends in a norm."""

    def setup(self):
        """Build both networks."""
        token = nn.initializers.normal(0.02)
        init = nn.initializers.xavier_uniform()

        def blocks(depth: int, heads: int, features: int) -> list:
            fields = {"pre_norm": True, "activation": gelu, "epsilon": self.epsilon, "dtype": self.dtype}
            return [TransformerEncoderBlock(heads, features, **fields) for _ in range(depth)]

        def dense(features: int) -> Dense:
            return Dense(features, dtype=self.dtype, kernel_init=init)

        self.patch_embed = dense(self.width)
        self.blocks = blocks(self.depth, self.num_heads, self.mlp_features)
        if self.decoder_depth:
            self.decoder_embed = dense(self.decoder_width)
            self.mask_token = self.param("mask_token", token, (1, 1, self.decoder_width))
            self.decoder = blocks(self.decoder_depth, self.decoder_heads, self.decoder_features)
            self.decoder_norm = LayerNorm(self.epsilon)
            self.decoder_pred = Dense(self.patch_values(), kernel_init=init)
        if self.CLASS_TOKEN:
            self.cls_token = self.param("cls_token", token, (1, 1, self.width))
        if self.final_norm:
            self.norm = LayerNorm(self.epsilon)
        if self.table_size:
            side = self.table_size // self.patch_size
            sines = np.pad(self.positions((side, side), self.width), ((1, 0), (0, 0)))[None]
            self.position_table = self.param("position_table", lambda key: jnp.asarray(sines, jnp.float32))

    def patch_values(self) -> int:
        """Count the numbers of a patch.

        Returns:
          P P C.
        """
        return self.patch_size**2 * self.channels

    def grid(self, x: jax.Array) -> tuple[int, ...]:
        """Return the number of patches along each side.

        Args:
          x: [B, H, W, C].

        Returns:
          (rows, columns).
        """
        check_floats("x", x)
        return patch_grid(x, self.patch_size)

    def num_visible(self, grid: tuple[int, ...]) -> int:
        """Count the patches that the encoder sees.

        Args:
          grid: result of `grid`.

        Returns:
          N (1 - mask_ratio), rounded down.
        """
        return visible_count(int(np.prod(grid)), self.mask_ratio)

    def patches(self, x: jax.Array) -> jax.Array:
        """Cut images into patches.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, N, P P C].
        """
        return patchify(x, self.patch_size)

    def positions(self, grid: tuple[int, ...], width: int) -> np.ndarray:
        """Build the table of positions.

        Args:
          grid: result of `grid`.
          width: D, features of a token.

        Returns:
          [N, D].
        """
        return grid_positions(*grid, width)

    def __call__(self, x: jax.Array, noise: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Mask images and fill them in.

        Args:
          x: [B, H, W, C].
          noise: [B, N]; the patches of the smallest are seen.
          train: unused, as nothing drops.

        Returns:
          `prediction: [B, N, P P C]`, at least float32; `mask: [B, N]`, 1 where a patch was masked; `restore: [B, N]`,
          the rank of each patch's noise; `tokens`, the encoder's output, [B, 1 + seen, width].
        """
        if not self.decoder_depth:
            raise ValueError("decoder_depth=0: an encoder alone fills nothing in; allowed: `encode`, or at least 1")
        count = int(np.prod(self.grid(x)))
        if noise.shape != (x.shape[0], count):
            raise ValueError(f"noise.shape={noise.shape}: allowed: {(x.shape[0], count)}, a number for each patch")
        num_visible = self.num_visible(self.grid(x))
        order = jnp.argsort(noise, axis=1)
        restore = jnp.argsort(order, axis=1)
        tokens = self.encode(x, order[:, :num_visible])
        prediction = self._decode(tokens, restore, self.grid(x))
        return {
            "prediction": prediction,
            "mask": (restore >= num_visible).astype(prediction.dtype),
            "restore": restore,
            "tokens": tokens,
        }

    def encode(self, x: jax.Array, seen: jax.Array | None = None, train: bool = False) -> jax.Array:
        """Read patches of images.

        Args:
          x: [B, H, W, C].
          seen: [B, K] int, the patches to read; None: all.
          train: unused, as nothing drops.

        Returns:
          [B, 1 + K, width], normalized, the class token first; at least float32.
        """
        grid = self.grid(x)
        patches = self.patches(x)
        if self.table_size:
            self._check_table(grid)
            position_table = self.position_table[:, 1:]
        else:
            position_table = jnp.asarray(self.positions(grid, self.width))[None]
        if seen is not None:
            patches = jnp.take_along_axis(patches, seen[..., None], 1)
            position_table = jnp.take_along_axis(
                jnp.broadcast_to(position_table, (x.shape[0], *position_table.shape[1:])), seen[..., None], 1
            )
        tokens = self.patch_embed(patches)
        tokens = tokens + position_table.astype(tokens.dtype)
        if self.CLASS_TOKEN:
            token = self.cls_token + self.position_table[:, :1] if self.table_size else self.cls_token
            first = jnp.broadcast_to(token.astype(tokens.dtype), (x.shape[0], 1, self.width))
            tokens = jnp.concatenate([first, tokens], 1)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = to_acc_dtype(tokens)
        return self.norm(tokens) if self.final_norm else tokens

    def _check_table(self, grid: tuple[int, ...]) -> None:
        side = self.table_size // self.patch_size
        if grid != (side, side):
            size = tuple(n * self.patch_size for n in grid)
            raise ValueError(f"x: images of {size}; allowed: sides of table_size={self.table_size}, or table_size=None")

    def _decode(self, tokens: jax.Array, restore: jax.Array, grid: tuple[int, ...]) -> jax.Array:
        front, y = int(self.CLASS_TOKEN), self.decoder_embed(tokens)
        hidden = restore.shape[1] - (y.shape[1] - front)
        masked = jnp.broadcast_to(self.mask_token.astype(y.dtype), (y.shape[0], hidden, self.decoder_width))
        patches = jnp.take_along_axis(jnp.concatenate([y[:, front:], masked], 1), restore[..., None], 1)
        patches = patches + jnp.asarray(self.positions(grid, self.decoder_width), y.dtype)
        y = jnp.concatenate([y[:, :front], patches], 1)
        for block in self.decoder:
            y = block(y)
        return self.decoder_pred(self.decoder_norm(to_acc_dtype(y))[:, front:])


class VideoMAE(MAE):
    """A masked autoencoder of clips [B, F, H, W, C]: patches of `tubelet` frames, and no class token.

    All fields of `MAE`; P is the side of a patch in each frame.

    Args:
      tubelet: frames of a patch; divides F.
      final_norm: the encoder ends in a norm, as that of the published pre-training (`use_mean_pooling=False`).
      num_classes: classes that `classify` tells apart, of an encoder alone; 0: none.
    """

    tubelet: Annotated[int, Range(1)] = 2
    final_norm: bool = False
    num_classes: Annotated[int, "if changed"] = 0

    CLASS_TOKEN = False

    def setup(self):
        """Build both networks, and the head."""
        super().setup()
        if self.num_classes:
            self.fc_norm = LayerNorm()
            self.classifier = Dense(self.num_classes)

    def classify(self, x: jax.Array) -> jax.Array:
        """Classify clips: [B, F, H, W, C] -> logits [B, K].

        The head reads the normalized mean of the tokens, or the first one where the encoder ends in a norm.
        """
        tokens = self.encode(x)
        return self.classifier(tokens[:, 0] if self.final_norm else self.fc_norm(tokens.mean(1)))

    def patch_values(self) -> int:
        """Count the numbers of a patch.

        Returns:
          tubelet P P C.
        """
        return self.tubelet * self.patch_size**2 * self.channels

    def grid(self, x: jax.Array) -> tuple[int, ...]:
        """Return the number of patches along time and each side.

        Args:
          x: [B, F, H, W, C].

        Returns:
          (times, rows, columns).
        """
        check_floats("x", x)
        size = (self.tubelet, self.patch_size, self.patch_size)
        if x.ndim != 5 or any(side % s for side, s in zip(x.shape[1:4], size, strict=True)):
            raise ValueError(f"{x.shape=}: patches do not cover the clip; allowed: 5 axes, multiples of {size}")
        return tuple(side // s for side, s in zip(x.shape[1:4], size, strict=True))

    def patches(self, x: jax.Array) -> jax.Array:
        """Cut clips into patches.

        Args:
          x: [B, F, H, W, C].

        Returns:
          [B, N, tubelet P P C].
        """
        (t, h, w), p, channels = self.grid(x), self.patch_size, x.shape[-1]
        x = x.reshape(-1, t, self.tubelet, h, p, w, p, channels).transpose(0, 1, 3, 5, 2, 4, 6, 7)
        return x.reshape(x.shape[0], t * h * w, self.tubelet * p * p * channels)

    def positions(self, grid: tuple[int, ...], width: int) -> np.ndarray:
        """Build the table of positions: waves of the place in the sequence of patches."""
        return sinusoidal_encoding(int(np.prod(grid)), width)


TORCH_NAMES = (
    (r"^position_table$", "vit.embeddings.position_embeddings"),
    (r"^(cls_token|patch_embed\.)", r"vit.embeddings.\1"),
    (r"^blocks\.", "vit.layers."),
    (r"^norm\.", "vit.layernorm."),
    (r"^decoder\.(\d+)\.", r"decoder.decoder_layers.\1."),
    (r"^(mask_token|decoder_(norm|embed|pred)\.)", r"decoder.\1"),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"^(.*)\.attn\.qkv\.(.*)", r"\1.attention.q_proj.\2 + \1.attention.k_proj.\2 + \1.attention.v_proj.\2"),
)
"""Names in today's transformers."""

FACEBOOK_NAMES = (
    (r"^cls_token$", "vit.embeddings.cls_token"),
    (r"^pos_embed$", "vit.embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "vit.embeddings.patch_embed."),
    (r"^blocks\.", "vit.layers."),
    (r"^norm\.", "vit.layernorm."),
    (r"^decoder_blocks\.", "decoder.decoder_layers."),
    (r"^decoder_(embed\.|norm\.|pred\.|pos_embed$)", r"decoder.decoder_\1"),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
)
"""What turns the names of facebook's files into today's."""

TORCH_OLD_NAMES = (
    *FACEBOOK_NAMES,
    (r"^videomae\.", "vit."),
    (r"^mask_token", "decoder.mask_token"),
    (r"^encoder_to_decoder\.", "decoder.decoder_embed."),
    (r"^decoder\.norm\.", "decoder.decoder_norm."),
    (r"^decoder\.head\.", "decoder.decoder_pred."),
    (r"^(embeddings\.|encoder\.|layers\.|layernorm\.)", r"vit.\1"),
    (r"^vit\.encoder\.layer\.", "vit.layers."),
    (r"patch_embeddings\.projection\.", "patch_embed."),
    (r"\.attention\.attention\.(q|v)_bias$", r".attention.\1_proj.bias"),
    (r"\.attention\.attention\.(q|k|v)(?:uery|ey|alue)\.", r".attention.\1_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
)
"""What turns older names, those of VideoMAE, and those of an encoder alone into them."""

BEHIND_ENCODER = r"^(decoder|pooler|fc_norm|classifier|head)\."
BEHIND_CLASSIFIER = r"^(decoder|pooler|head)\."
"""What files may hold besides an encoder, or an encoder and its head, after TORCH_OLD_NAMES."""

_TABLES = {"vit.embeddings.position_embeddings": "width", "decoder.decoder_pos_embed": "decoder_width"}


def from_torch_names(model: MAE, state_dict: Mapping[str, Any], image: tuple[int, ...] | None = None) -> dict[str, Any]:
    """Convert the state dict of transformers' ViTMAEForPreTraining or VideoMAEForPreTraining, or of facebook's MAE.

    Args:
      model: model of the same form.
      state_dict: {name: array}; tables of positions are compared with those that are computed, and left out, and so
        is what stands behind the encoder where `decoder_depth` is 0.
      image: shape of an example, (H, W, C) or (F, H, W, C); None for the published one.

    Returns:
      The variables, {"params": ...}.
    """
    image = image or example_inputs(model)[0].shape[1:]
    for side in image:
        check_whole_number("image", side, 1)
    x, entries = jnp.zeros((1, *image)), {}
    encoder_only, has_head = model.decoder_depth == 0, getattr(model, "num_classes", 0) > 0
    for name, value in unwrap_state_dict(state_dict).items():
        for pattern, replacement in TORCH_OLD_NAMES:
            name = re.sub(pattern, replacement, name)
        if encoder_only and re.search(BEHIND_CLASSIFIER if has_head else BEHIND_ENCODER, name):
            continue
        if name in _TABLES and not model.table_size:
            table = model.positions(model.grid(x), getattr(model, _TABLES[name]))
            if value.shape[1] != len(table) + 1 or not np.allclose(value[0, 1:], table, atol=1e-4):
                raise ValueError(f"state_dict: {name} is not the sines of this grid; allowed: tables of {image}")
            continue
        if ".attn.qkv." in name:
            for layer, part in zip("qkv", np.split(np.asarray(value), 3), strict=True):
                entries[name.replace("attn.qkv", f"attention.{layer}_proj")] = part
            continue
        entries[name] = np.asarray(value)
    embed = "vit.embeddings.patch_embed.weight"
    if embed in entries:  # (width, C, ..., P, P) -> (width, ... P P C)
        entries[embed] = np.moveaxis(entries[embed], 1, -1).reshape(len(entries[embed]), -1)
    if not model.CLASS_TOKEN:
        for name in [name for name in entries if name.endswith("q_proj.bias")]:
            entries.setdefault(name.replace("q_proj", "k_proj"), np.zeros_like(entries[name]))
        if not encoder_only:
            entries.setdefault("decoder.decoder_embed.bias", np.zeros(model.decoder_width, np.float32))
    noise = jnp.zeros((1, int(np.prod(model.grid(x)))))
    inputs, method = ((x,), "classify" if has_head else "encode") if encoder_only else ((x, noise), None)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *inputs, method=method))
    return fill_from_torch(shapes, entries, TORCH_NAMES, what=type(model).__name__)


def example_inputs(model: MAE) -> tuple[jax.Array, jax.Array]:
    """Build (an image [1, 224, 224, C] or clip [1, 16, 224, 224, C], noise [1, N])."""
    x = jnp.zeros((1, *((16,) if isinstance(model, VideoMAE) else ()), 224, 224, model.channels))
    return x, jnp.zeros((1, int(np.prod(model.grid(x)))))


_LARGE = {"depth": 24, "width": 1024, "num_heads": 16, "mlp_features": 4096}
_DECODER = {"decoder_depth": 4, "decoder_width": 384, "decoder_heads": 6, "decoder_features": 1536}
MODELS = {
    "mae_vit_b_16": functools.partial(MAE, channels=3, epsilon=1e-12),
    "mae_vit_l_16": functools.partial(MAE, channels=3, epsilon=1e-12, **_LARGE),
    "mae_vit_h_14": functools.partial(
        MAE, channels=3, epsilon=1e-12, patch_size=14, depth=32, width=1280, num_heads=16, mlp_features=5120
    ),
    "videomae_vit_b_16": functools.partial(
        VideoMAE, channels=3, epsilon=1e-12, mask_ratio=0.9, final_norm=True, **_DECODER
    ),
}
"""In transformers' form, whose layer norms add 1e-12."""
