"""CLIP: a vision transformer and a text transformer that put an image and its caption at the same place.

Radford et al., "Learning transferable visual models from natural language supervision" (2021), arXiv:2103.00020;
SigLIP: Zhai et al. 2023, arXiv:2303.15343.

    CLIP     image: W LN(blocks(LN([class token; patches] + P)))[class token]
             text:  W LN(causal blocks(E[tokens] + P)) at the first end token
    SigLIP   image: one learned query attends to LN(blocks(patches + P)), then an MLP
             text:  W LN(blocks(E[tokens] + P))[last] + b
    both     to length 1, and a learned scale: exp(s), at most 100; SigLIP adds a bias to scaled cosines

What follows the end token is never seen, so a caption may be padded there. `load_torch` takes the state dicts of
transformers' CLIPModel and SiglipModel, and those of CLIP by OpenAI and OpenCLIP, also with a residual network
(`dlcore.models.clip_resnet`). CLIP ViT-B/32 has 151,277,313 parameters.
"""

import functools
import re
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_floats
from dlcore.models.torch_weights import fill_from_torch
from dlcore.models.weight_files import unwrap_state_dict
from dlcore.nn import Conv, Dense, LayerNorm, LearnedPositions, MultiHeadAttention, TransformerEncoderBlock, causal_mask
from dlcore.nn.activations import named_activation
from dlcore.nn.embed import Embed
from dlcore.nn.transformer import FeedForward
from dlcore.ops import check_shapes, l2_normalize
from dlcore.ops.precision import to_acc_dtype

__all__ = ["CLIP", "MODELS", "SigLIP", "example_inputs", "from_torch_names", "published_entries", "unit"]

LARGEST_SCALE = 100.0


def unit(x: jax.Array) -> jax.Array:
    """Scale vectors to length 1.

    Args:
      x: [..., D].

    Returns:
      [..., D], at least float32.
    """
    return l2_normalize(to_acc_dtype(x))


class CLIP(CheckedFields):
    """Two transformers into one space: (images [B, H, W, 3], tokens [B, T]) -> vectors of length 1, and the scale.

    Args:
      vocab_size: different tokens.
      end_token: token that ends a text; the text's vector is read there.
      window: the most tokens of a text.
      image_size: side in pixels of the square images.
      patch_size: side in pixels of a patch; divides the image's.
      crop_rest: let patches not cover the image: what is left at the right and the bottom is not read, as in SigLIP
        so400m of patches of 14 and images of 384 pixels.
      embedding_size: D, of the shared space.
      vision_depth: blocks of the image's transformer.
      vision_width: features of a patch's token.
      vision_heads: attention heads of the image's transformer.
      text_depth: blocks of the text's transformer.
      text_width: features of a word's token.
      text_heads: attention heads of the text's transformer.
      mlp_ratio: hidden units of a block's MLP by its width.
      mlp_features: hidden units of a block's MLP, of both transformers; None for mlp_ratio times the width.
      text_mlp_features: MLP width of the text transformer, if it differs; None for mlp_features.
      activation: activation of the MLPs, by transformers' name: quick_gelu (OpenAI's weights), gelu (OpenCLIP's H and
        G), gelu_pytorch_tanh (SigLIP's).
      dtype: dtype of the computation; None takes the parameters'.
    """

    vocab_size: int
    end_token: int
    window: Annotated[int, Range(1)] = 77
    image_size: Annotated[int, Range(1)] = 224
    patch_size: Annotated[int, Range(1)] = 32
    embedding_size: Annotated[int, Range(1)] = 512
    vision_depth: Annotated[int, Range(1)] = 12
    vision_width: Annotated[int, Range(1)] = 768
    vision_heads: Annotated[int, Range(1)] = 12
    text_depth: Annotated[int, Range(1)] = 12
    text_width: Annotated[int, Range(1)] = 512
    text_heads: Annotated[int, Range(1)] = 8
    mlp_ratio: Annotated[int, Range(1)] = 4
    mlp_features: Annotated[int, Range(1)] | None = None
    text_mlp_features: Annotated[int, Range(1)] | None = None
    activation: str = "quick_gelu"
    crop_rest: bool = False
    epsilon: float = 1e-5
    dtype: Any = None

    FIRST_SCALE = 1 / 0.07

    def setup(self):
        """Build both transformers."""
        self._towers()
        normal = nn.initializers.normal
        self.class_token = self.param("class_token", normal(self.vision_width**-0.5), (1, 1, self.vision_width))
        self.vision_pre_norm = LayerNorm(self.epsilon, dtype=self.dtype)
        self.vision_head = Dense(
            self.embedding_size, use_bias=False, dtype=self.dtype, kernel_init=normal(self.vision_width**-0.5)
        )
        self.text_head = Dense(
            self.embedding_size, use_bias=False, dtype=self.dtype, kernel_init=normal(self.text_width**-0.5)
        )
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(np.log(self.FIRST_SCALE)), ())

    @nn.nowrap
    def _towers(self, prefix: int = 1) -> None:
        """Build what both kinds have: two transformers."""
        if self.image_size % self.patch_size and not self.crop_rest:
            raise ValueError(f"patch_size={self.patch_size}: no divisor; allowed: of image_size={self.image_size}")
        self._patch_layers(prefix)
        self.vision_blocks = self._blocks(self.vision_depth, self.vision_width, self.vision_heads, self.mlp_features)
        self.vision_norm = LayerNorm(self.epsilon)
        self._text_tower()

    @nn.nowrap
    def _patch_layers(self, prefix: int) -> None:
        size, side = (self.patch_size, self.patch_size), self.image_size // self.patch_size
        self.patch_embed = Conv(self.vision_width, size, size, padding="VALID", use_bias=prefix == 0, dtype=self.dtype)
        self.vision_positions = LearnedPositions((side, side), prefix)

    @nn.nowrap
    def _example_images(self) -> Any:
        return jnp.zeros((1, self.image_size, self.image_size, 3))

    @nn.nowrap
    def _text_tower(self) -> None:
        init = nn.initializers.normal(0.02)
        self.token_embed = Embed(self.vocab_size, self.text_width, embedding_init=init, dtype=self.dtype)
        self.text_positions = Embed(
            self.window, self.text_width, embedding_init=nn.initializers.normal(0.01), dtype=self.dtype
        )
        text_features = self.text_mlp_features or self.mlp_features
        self.text_blocks = self._blocks(self.text_depth, self.text_width, self.text_heads, text_features)
        self.text_norm = LayerNorm(self.epsilon)

    @nn.nowrap
    def _blocks(self, depth: int, width: int, heads: int, mlp_features: int | None) -> list:
        activation = named_activation(self.activation)
        return [
            TransformerEncoderBlock(
                heads,
                mlp_features or self.mlp_ratio * width,
                pre_norm=True,
                activation=activation,
                epsilon=self.epsilon,
                dtype=self.dtype,
            )
            for _ in range(depth)
        ]

    def __call__(self, images: jax.Array, tokens: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Encode images and texts.

        Args:
          images: [B, H, W, 3], normalized.
          tokens: [B, T] int, T at most the window.

        Returns:
          (images [B, D], texts [B, D], both of length 1, and the scale of cosines, at most 100).
        """
        return self.encode_image(images), self.encode_text(tokens), self.scale()

    def scale(self) -> jax.Array:
        """Read the scale.

        Returns:
          [], the factor of the cosines, at most 100.
        """
        return jnp.minimum(jnp.exp(self.logit_scale.reshape(())), LARGEST_SCALE)

    def encode_image(self, images: jax.Array) -> jax.Array:
        """Encode images.

        Args:
          images: [B, H, W, 3], normalized.

        Returns:
          [B, D], of length 1, at least float32.
        """
        return unit(self.project_image(self.image_tokens(images)))

    def project_image(self, tokens: jax.Array) -> jax.Array:
        """Map the class token of the last block to the shared space: [B, 1 + N, width] -> [B, D], of any length."""
        return self.vision_head(self.vision_norm(to_acc_dtype(tokens[:, 0])))

    def describe_image(self, images: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Describe images before the shared space, as transformers' image towers do.

        Args:
          images: [B, H, W, 3], normalized.

        Returns:
          (tokens [B, 1 + N, width] of the last block; [B, width], the normalized class token; [B, width], the mean over
          patches).
        """
        tokens = to_acc_dtype(self.image_tokens(images))
        return tokens, self.vision_norm(tokens[:, 0]), tokens[:, 1:].mean(1)

    def image_tokens(self, images: jax.Array) -> jax.Array:
        """Read images.

        Args:
          images: [B, H, W, 3], normalized.

        Returns:
          [B, 1 + N, width], of the last block, the class token first.
        """
        return self.image_layers(images)[-1]

    def image_layers(self, images: jax.Array) -> list[jax.Array]:
        """Read images: [B, H, W, 3], normalized -> tokens [B, 1 + N, width] of each block, the class token first."""
        x, grid = self._patches(images)
        first = jnp.broadcast_to(self.class_token.astype(x.dtype), (x.shape[0], 1, self.vision_width))
        x = self.vision_pre_norm(self.vision_positions(jnp.concatenate([first, x], 1), grid))
        layers = []
        for block in self.vision_blocks:
            x = block(x)
            layers.append(x)
        return layers

    def _patches(self, images: jax.Array) -> tuple[jax.Array, tuple[int, int]]:
        check_floats("images", images)
        if images.ndim != 4 or (any(side % self.patch_size for side in images.shape[1:3]) and not self.crop_rest):
            raise ValueError(f"{images.shape=}: patches do not cover it; allowed: multiples of {self.patch_size}")
        x = self.patch_embed(images)
        return x.reshape(x.shape[0], -1, self.vision_width), x.shape[1:3]

    def text_tokens(self, tokens: jax.Array) -> jax.Array:
        """Read texts; a token sees those before it.

        Args:
          tokens: [B, T] int, T at most the window.

        Returns:
          [B, T, width], of the last norm.
        """
        return self._read(tokens, causal_mask(tokens.shape[1]))

    def _read(self, tokens: jax.Array, mask: jax.Array | None) -> jax.Array:
        check_shapes(tokens=(tokens, "int B T"))
        length = tokens.shape[1]
        if length < 1:
            raise ValueError(f"tokens.shape={tokens.shape}: no token; allowed: at least 1")
        if length > self.window:
            raise ValueError(f"tokens.shape={tokens.shape}: {length} tokens; allowed: at most window={self.window}")
        x = self.token_embed(tokens) + self.text_positions(jnp.arange(length))
        for block in self.text_blocks:
            x = block(x, False, mask)
        return self.text_norm(to_acc_dtype(x))

    def encode_text(self, tokens: jax.Array) -> jax.Array:
        """Encode texts.

        Args:
          tokens: [B, T] int, each with an end token; what follows it is not seen.

        Returns:
          [B, D], of length 1, at least float32; NaN for a traced text without an end token.
        """
        return unit(self.project_text(tokens))

    def project_text(self, tokens: jax.Array) -> jax.Array:
        """Map the end tokens of texts to the shared space: [B, T] int, as of `encode_text` -> [B, D], of any length."""
        check_shapes(tokens=(tokens, "int B T"))
        is_end = tokens == self.end_token  # [B, T]
        if not self.is_initializing():
            _check_ends(tokens, self.end_token)
        x, end = self.text_tokens(tokens), is_end.argmax(1)
        vectors = self.text_head(jnp.take_along_axis(x, end[:, None, None], 1)[:, 0])
        # Without an end token, argmax is 0: the start token, which stands for any text.
        return jnp.where(is_end.any(1, keepdims=True), vectors, jnp.nan)


def _check_ends(tokens: jax.Array, end_token: int) -> None:
    if isinstance(tokens, jax.core.Tracer):
        return
    if (missing := ~(np.asarray(tokens) == end_token).any(1)).any():
        allowed = "allowed: texts that have one; a text that is cut must end with it, too"
        raise ValueError(f"tokens[{missing.argmax()}]: no end token {end_token}; {allowed}")


class SigLIP(CLIP):
    """A CLIP without a class token, whose image is read by one learned query; texts are read at their last token.

    All fields of `CLIP`; D is the width of the image's tokens, and `embedding_size` and `end_token` are not used.

    Args:
      activation: activation of the MLPs, by transformers' name.
    """

    activation: str = "gelu_pytorch_tanh"
    epsilon: float = 1e-6

    FIRST_SCALE = 10.0

    def setup(self):
        """Build both transformers and the query."""
        self._towers(0)
        self.probe = self.param("probe", nn.initializers.normal(0.02), (1, 1, self.vision_width))
        self.probe_attn = MultiHeadAttention(self.vision_heads, dtype=self.dtype)
        self.probe_norm = LayerNorm(self.epsilon, dtype=self.dtype)
        features = self.mlp_features or self.mlp_ratio * self.vision_width
        self.probe_mlp = FeedForward(features, named_activation(self.activation), dtype=self.dtype)
        self.text_head = Dense(self.vision_width, dtype=self.dtype)
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(np.log(self.FIRST_SCALE)), (1,))
        self.logit_bias = self.param("logit_bias", nn.initializers.constant(-10.0), (1,))

    def logits(self, images: jax.Array, tokens: jax.Array) -> jax.Array:
        """Score all pairs, by scaled cosines and the bias.

        Args:
          images: [B, H, W, 3], normalized.
          tokens: [B', T] int.

        Returns:
          [B, B'].
        """
        image_vectors, text_vectors, scale = self(images, tokens)
        return scale * image_vectors @ text_vectors.T + self.logit_bias

    def image_tokens(self, images: jax.Array) -> jax.Array:
        """Read images.

        Returns:
          [B, N, width], of the last block.
        """
        x, grid = self._patches(images)
        x = self.vision_positions(x, grid)
        for block in self.vision_blocks:
            x = block(x)
        return x

    def encode_image(self, images: jax.Array) -> jax.Array:
        """Encode images.

        Returns:
          [B, width], of length 1, at least float32.
        """
        return unit(self.describe_image(images)[1])

    def describe_image(self, images: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Describe images before the shared space, as transformers' image towers do.

        Returns:
          (normalized tokens [B, N, width]; [B, width], what the learned query reads; [B, width], the mean over tokens).
        """
        return self._pooled(self.image_tokens(images))

    def _pooled(self, x: jax.Array, mask: jax.Array | None = None) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Pool tokens of the last block; the mask [B, 1, 1, N] says which ones."""
        tokens = self.vision_norm(to_acc_dtype(x))
        probe = jnp.broadcast_to(self.probe.astype(tokens.dtype), (x.shape[0], 1, self.vision_width))
        x = self.probe_attn(probe, tokens, mask=mask)
        weights = None if mask is None else jnp.broadcast_to(mask[:, 0, 0, :, None], tokens.shape)
        return tokens, (x + self.probe_mlp(self.probe_norm(x)))[:, 0], tokens.mean(1, where=weights)

    def encode_text(self, tokens: jax.Array) -> jax.Array:
        """Encode texts.

        Args:
          tokens: [B, T] int; all of them are read, padding too.

        Returns:
          [B, width], of length 1, at least float32.
        """
        return unit(self.text_head(self._read(tokens, None)[:, -1]))


LAYER_NAMES = (
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"\.attn\.proj\.", ".self_attn.out_proj."),
    (r"^(.*)\.attn\.qkv\.(.*)", r"\1.self_attn.q_proj.\2 + \1.self_attn.k_proj.\2 + \1.self_attn.v_proj.\2"),
)
"""Of a block, in transformers' files of CLIP and of networks after it."""
TORCH_NAMES = (
    (r"^class_token", "vision_model.embeddings.class_embedding"),
    (r"^patch_embed\.", "vision_model.embeddings.patch_embedding."),
    (r"^vision_positions\.", "vision_model.embeddings.position_embedding."),
    (r"^vision_pre_norm\.", "vision_model.pre_layrnorm."),
    (r"^vision_norm\.", "vision_model.post_layernorm."),
    (r"^vision_head\.", "visual_projection."),
    (r"^token_embed\.", "text_model.embeddings.token_embedding."),
    (r"^text_positions\.", "text_model.embeddings.position_embedding."),
    (r"^text_norm\.", "text_model.final_layer_norm."),
    (r"^(vision|text)_blocks\.", r"\1_model.encoder.layers."),
    *LAYER_NAMES,
    (r"^probe$", "vision_model.head.probe"),
    (r"^probe_attn\.proj\.", "vision_model.head.attention.out_proj."),
    (r"^probe_attn\.", "vision_model.head.attention."),
    (r"^probe_norm\.", "vision_model.head.layernorm."),
    (r"^probe_mlp\.", "vision_model.head.mlp."),
    (r"^visual\.attnpool\.positions$", "visual.attnpool.positional_embedding"),
    (r"^visual\.attnpool\.attn\.(q|k|v)\w+\.", r"visual.attnpool.\1_proj."),
    (r"\.attnpool\.self_attn\.out_proj\.", ".attnpool.c_proj."),
)
OPENAI_NAMES = (
    (r"^text\.text_projection\.(?=weight|bias)", "text_model.head."),
    (r"^visual\.trunk\.patch_embed\.proj\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual\.trunk\.pos_embed$", "vision_model.embeddings.position_embedding.weight"),
    (r"^visual\.trunk\.blocks\.", "vision_model.encoder.layers."),
    (r"^visual\.trunk\.norm\.", "vision_model.post_layernorm."),
    (r"^visual\.trunk\.attn_pool\.latent$", "vision_model.head.probe"),
    (r"^visual\.trunk\.attn_pool\.norm\.", "vision_model.head.layernorm."),
    (r"^visual\.trunk\.attn_pool\.mlp\.", "vision_model.head.mlp."),
    (r"^visual\.trunk\.attn_pool\.q\.", "vision_model.head.attention.query."),
    (r"^visual\.trunk\.attn_pool\.proj\.", "vision_model.head.attention.out_proj."),
    (r"^visual\.trunk\.attn_pool\.kv\.", "vision_model.head.attention.kv."),
    (r"\.norm([12])\.", r".layer_norm\1."),
    (r"^(vision_model\.encoder\..*)\.attn\.proj\.", r"\1.self_attn.out_proj."),
    (r"^text\.(?=transformer\.|token_embedding\.|positional_embedding$|ln_final\.|text_projection$)", ""),
    (r"^visual\.class_embedding$", "vision_model.embeddings.class_embedding"),
    (r"^visual\.conv1\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual\.positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
    (r"^visual\.ln_pre\.", "vision_model.pre_layrnorm."),
    (r"^visual\.ln_post\.", "vision_model.post_layernorm."),
    (r"^visual\.proj$", "visual_projection.weight"),
    (r"^visual\.transformer\.resblocks\.", "vision_model.encoder.layers."),
    (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^ln_final\.", "text_model.final_layer_norm."),
    (r"^text_projection$", "text_projection.weight"),
    (r"\.ln_(\d)\.", r".layer_norm\1."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"\.attn\.(?=in_proj_|out_proj\.)", ".self_attn."),
)
"""What turns the names of OpenAI's CLIP and of OpenCLIP, whose SigLIP has timm's ViT, into transformers'."""

TORCH_IGNORED = r"(^|\.)position_ids$|^(input_resolution|context_length|vocab_size)$|(^|\.)attn_mask$"
_TRANSPOSED = ("visual.proj", "text_projection", "text.text_projection")
"""Matrices (in, out) of OpenAI's."""

_POOL = "vision_model.head.attention."
_FUSED = {
    f"{_POOL}in_proj_": (f"{_POOL}query.", f"{_POOL}key.", f"{_POOL}value."),
    f"{_POOL}kv.": (f"{_POOL}key.", f"{_POOL}value."),
    ".attn.qkv.": (".self_attn.q_proj.", ".self_attn.k_proj.", ".self_attn.v_proj."),
}
"""Layers that are several here."""


def published_entries(model: CLIP, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Give the entries of a published file transformers' names.

    Args:
      model: model of the same form.
      state_dict: {name: array}.

    Returns:
      {name of transformers, with a layer each for queries, keys and values: array}.
    """
    unwrapped = unwrap_state_dict(state_dict)
    names = getattr(model, "OPENAI_NAMES", OPENAI_NAMES)
    if names is OPENAI_NAMES and any(name.startswith(("visual.layer1.", "visual.attnpool.")) for name in unwrapped):
        raise ValueError("state_dict: a CLIP with a ResNet; allowed: of the models clip_resnet*")
    entries = {}
    for name, value in unwrapped.items():
        if re.search(TORCH_IGNORED, name):
            continue
        value = np.asarray(value).T if name in _TRANSPOSED else value
        for pattern, replacement in names:
            name = re.sub(pattern, replacement, name)
        entries[name] = value
    for name in list(entries):
        for fused, parts in _FUSED.items():
            prefix, separator, kind = name.partition(fused)
            if separator:
                for part, value in zip(parts, np.split(np.asarray(entries.pop(name)), len(parts)), strict=True):
                    entries[f"{prefix}{part}{kind}"] = value
    return entries


def from_torch_names(model: CLIP, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the state dict of transformers' CLIPModel or SiglipModel, of OpenAI's CLIP, OpenCLIP's or its SigLIP."""
    entries = published_entries(model, state_dict)
    head = r"text_model.head." if isinstance(model, SigLIP) else "text_projection."
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    rules = (*TORCH_NAMES, (r"^text_head\.", head))
    return fill_from_torch(shapes, entries, rules, what=type(model).__name__)


def example_inputs(model: CLIP) -> tuple[Any, jax.Array]:
    """Build (an image [1, H, W, 3], or in the form that the variant reads, an end token [1, 1])."""
    return model._example_images(), jnp.full((1, 1), model.end_token, jnp.int32)


def _clip(vision: tuple[int, int, int], text: tuple[int, int, int], patch_size: int, size: int, **fields: Any) -> Any:
    sizes = {f"vision_{key}": value for key, value in zip(("depth", "width", "heads"), vision, strict=True)}
    sizes |= {f"text_{key}": value for key, value in zip(("depth", "width", "heads"), text, strict=True)}
    fields = {"vocab_size": 49408, "end_token": 49407, "embedding_size": size} | fields
    return functools.partial(CLIP, patch_size=patch_size, **sizes, **fields)


def _siglip(depth: int, width: int, heads: int, patch_size: int, **fields: Any) -> Any:
    sizes = {
        f"{part}_{key}": value
        for part in ("vision", "text")
        for key, value in (("depth", depth), ("width", width), ("heads", heads))
    }
    return functools.partial(SigLIP, vocab_size=32000, end_token=1, window=64, patch_size=patch_size, **sizes, **fields)


_BASE, _LARGE, _HUGE = (12, 768, 12), (24, 1024, 16), (32, 1280, 16)
MODELS = {
    "clip_vit_b_32": _clip(_BASE, (12, 512, 8), 32, 512),
    "clip_vit_b_16": _clip(_BASE, (12, 512, 8), 16, 512),
    "clip_vit_l_14": _clip(_LARGE, (12, 768, 12), 14, 768),
    "clip_vit_l_14_336": _clip(_LARGE, (12, 768, 12), 14, 768, image_size=336),
    "openclip_vit_h_14": _clip(_HUGE, (24, 1024, 16), 14, 1024, activation="gelu"),
    "openclip_vit_bigg_14": _clip(
        (48, 1664, 16), (32, 1280, 20), 14, 1280, activation="gelu", mlp_features=8192, text_mlp_features=5120
    ),
    "siglip_base_patch16_224": _siglip(12, 768, 12, 16),
    "siglip_large_patch16_256": _siglip(24, 1024, 16, 16, image_size=256),
    "siglip_so400m_patch14_224": _siglip(27, 1152, 16, 14, mlp_features=4304),
    "siglip_so400m_patch14_384": _siglip(27, 1152, 16, 14, mlp_features=4304, image_size=384, crop_rest=True),
}
