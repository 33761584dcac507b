"""Text to image by a published pipeline: its text encoders, its network and its autoencoder, from one folder.

Rombach et al. 2022, arXiv:2112.10752 (Stable Diffusion); Podell et al. 2023, arXiv:2307.01952 (SDXL); Esser et al.
2024, arXiv:2403.03206 (Stable Diffusion 3); Chen et al. 2023, arXiv:2310.00426 (PixArt-alpha); Flux has no paper.

    condition = text encoders(words),   z_T ~ N(0, I),   z_0 = sampler(network(z_t, t, condition)),   x = decoder(z_0)
    guided: network(z, t, no words) + g (network(z, t, words) - network(z, t, no words))

    StableDiffusionPipeline      CLIP's last states
    LatentConsistencyModel...    the same; guidance is an input, and each step adds noise (arXiv:2310.04378)
    StableDiffusionXLPipeline    states before the last block of two CLIPs; pooled; sizes
    StableDiffusion3Pipeline     two CLIPs' states before the last block, then T5's; both pooled
    FluxPipeline                 T5's states, CLIP's pooled; guidance is an input of "dev"
    PixArtAlphaPipeline          T5's states of the words without padding

A folder is what diffusers' `save_pretrained` writes: model_index.json beside the folders of the parts. The sampler is
that of the scheduler's class, see `dlcore.generative.published_schedulers`: DPM-Solver++, UniPC or Euler on the flow;
DDIM's steps for the others, without noise, on the timesteps and levels of their configuration.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from dlcore.choices import check_whole_number
from dlcore.generative.flux import image_positions
from dlcore.generative.pixels import denormalize
from dlcore.generative.published_schedulers import diffusion_solver, flow_solver
from dlcore.generative.samplers import Noise
from dlcore.generative.unet import timestep_embedding
from dlcore.learner import root_key
from dlcore.models.stored_arrays import read_config
from dlcore.ops.checks import check_shapes
from dlcore.pretrained import Pretrained, from_pretrained
from dlcore.pretrained.prompt_encoder import PromptEncoder, open_prompt_encoder

__all__ = ["Pipeline", "open_pipeline"]


class Kind(NamedTuple):
    """A pipeline's parts and defaults.

    Args:
      network: folder of the network.
      encoders: (folder of the text encoder, of its tokenizer, window of a T5) in their order.
      guidance: default strength of the guidance.
      steps: default number of steps.
      is_flow: whether the network predicts the velocity of flow matching.
    """

    network: str
    encoders: tuple[tuple[str, str, int], ...]
    guidance: float
    steps: int
    is_flow: bool = False


_FIRST, _SECOND = ("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")


_THIRD = ("text_encoder_3", "tokenizer_3")


KINDS = {
    "StableDiffusionPipeline": Kind("unet", ((*_FIRST, 77),), 7.5, 50),
    "LatentConsistencyModelPipeline": Kind("unet", ((*_FIRST, 77),), 8.5, 4),
    "StableDiffusionXLPipeline": Kind("unet", ((*_FIRST, 77), (*_SECOND, 77)), 5.0, 50),
    "StableDiffusion3Pipeline": Kind("transformer", ((*_FIRST, 77), (*_SECOND, 77), (*_THIRD, 256)), 7.0, 28, True),
    "FluxPipeline": Kind("transformer", ((*_FIRST, 77), (*_SECOND, 512)), 3.5, 28, True),
    "PixArtAlphaPipeline": Kind("transformer", ((*_FIRST, 120),), 4.5, 20),
}
"""Pipelines by their class in model_index.json."""


@dataclasses.dataclass(frozen=True, eq=False)
class Pipeline:
    """A published pipeline; prompts of one size, number of images and steps, and guidance share a compiled program.

    Args:
      name: its class, one of KINDS.
      network: what predicts noise or velocity.
      autoencoder: what decodes latents.
      encoders: the text encoders in their order.
      scheduler: content of the scheduler's configuration.
      index: content of model_index.json.
    """

    name: str
    network: Pretrained
    autoencoder: Pretrained
    encoders: tuple[PromptEncoder, ...]
    scheduler: dict[str, Any]
    index: dict[str, Any]

    @property
    def side(self) -> int:
        """Side of the images that it was trained on, in pixels."""
        side = self.network.config.get("sample_size") or 128
        return side * self._downsampling

    @property
    def _downsampling(self) -> int:
        return self.autoencoder.model.downsampling

    def rests(self, words: str) -> dict[str, str]:
        """Find what of a prompt its text encoders do not read.

        Args:
          words: the prompt.

        Returns:
          Name of the text encoder -> text; only of those that do not read all.
        """
        return {encoder.name: rest for encoder in self.encoders if (rest := encoder.rest(words))}

    def draw(
        self,
        words: str,
        *,
        count: int = 1,
        steps: int | None = None,
        guidance: float | None = None,
        size: tuple[int, int] | None = None,
        seed: int = 0,
    ) -> jax.Array:
        """Draw images of a prompt.

        Args:
          words: the prompt; an empty one is no condition.
          count: number of images B, at least 1.
          steps: steps of the sampler, at least 1; None for the published number.
          guidance: strength g; 1 does not guide; None for the published number, and 1 without words.
          size: (H, W) in pixels; None for that of the training.
          seed: seed of the noise; an image belongs to its number and the seed.

        Returns:
          [B, H, W, 3] float32 in [0, 1].
        """
        if not isinstance(words, str):
            raise ValueError(f"words={words!r}: no text; allowed: one prompt, a str")
        check_whole_number("seed", seed, 0)
        kind = KINDS[self.name]
        steps = kind.steps if steps is None else steps
        if size is not None and np.shape(size) != (2,):
            raise ValueError(f"size={size}: not two sides; allowed: (H, W) in pixels")
        height, width = (self.side, self.side) if size is None else size
        check_shapes(height=(height, "int >= 0"), width=(width, "int >= 0"))
        guidance = self._guidance(words, guidance)
        for name, number in (("count", count), ("steps", steps)):
            check_shapes(**{name: (number, "int >= 1")})
        unit = self._downsampling * self._patch
        if min(height, width) < unit or height % unit or width % unit:
            raise ValueError(f"size={height}x{width}: sides do not divide; allowed: multiples of {unit} pixels")
        rows, columns = height // self._downsampling, width // self._downsampling
        shape = rows, columns, self.autoencoder.model.latent_channels
        keys = jax.vmap(lambda k: jax.random.fold_in(root_key(seed), k))(jnp.arange(count))
        start = jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
        conditions, null = self._condition(words, (height, width)), None
        if guidance != 1 and not self._embeds_guidance:
            null = self._null(conditions, (height, width))
        conditions, null = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape[1:])), (conditions, null))
        weights = self.network.variables, self.autoencoder.variables
        return self._run(steps, guidance, *weights, conditions, null, start, keys)

    @functools.cached_property
    def _run(self) -> Callable[..., jax.Array]:
        """The program that draws; it belongs to this pipeline, so that it goes with its weights."""

        @functools.partial(jax.jit, static_argnums=(0, 1))
        def run(
            steps: int,
            guidance: float,
            variables: Any,
            latent_variables: Any,
            conditions: tuple[jax.Array, ...],
            null: tuple[jax.Array, ...] | None,
            start: jax.Array,
            keys: jax.Array,
        ) -> jax.Array:
            def network(z: jax.Array, t: jax.Array) -> jax.Array:
                conditional = self._predict(variables, z, t, conditions, guidance)
                if null is None:
                    return conditional
                # A call of its own: without padding, texts and no text differ in length.
                unconditional = self._predict(variables, z, t, null, guidance)
                return unconditional + guidance * (conditional - unconditional)

            def noise(k: jax.Array) -> jax.Array:
                return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, k), start.shape[1:]))(keys)

            is_flow = KINDS[self.name].is_flow
            solve = self._flow(steps, start.shape[1] * start.shape[2]) if is_flow else self._diffusion(steps, noise)
            model = self.autoencoder.model
            latents = model.unscale_latents(solve(network, start))
            return denormalize(model.apply(latent_variables, latents, method="decode"))

        return run

    @property
    def _patch(self) -> int:
        """Latents on a side of what the network cannot divide."""
        if self.name == "FluxPipeline":
            return 2
        model = self.network.model
        return getattr(model, "patch_size", 1) * 2 ** (len(getattr(model, "channels", (0,))) - 1)

    @property
    def _embeds_guidance(self) -> bool:
        """Whether guidance is an input of the network, which then needs no call without words."""
        return self.name == "FluxPipeline" or getattr(self.network.model, "guidance_features", None) is not None

    def _guidance(self, words: str, guidance: float | None) -> float:
        embeds = getattr(self.network.model, "has_guidance", self._embeds_guidance or None)
        if embeds is False:
            if guidance not in (None, 1):
                raise ValueError(f"guidance={guidance}: the network embeds none; allowed: 1")
            return 1.0
        if guidance is None:
            return KINDS[self.name].guidance if words.strip() or embeds else 1.0
        if not 0 <= guidance < np.inf:
            raise ValueError(f"guidance={guidance}: out of range; allowed: finite numbers, at least 0")
        if guidance != 1 and not words.strip() and not embeds:
            raise ValueError(f"guidance={guidance}: words={words!r} are no condition; allowed: 1, or words")
        return float(guidance)

    def _condition(self, words: str, size: tuple[int, int]) -> tuple[jax.Array, ...]:
        """What the network is given besides z and t, [1, ...] each."""
        texts = [encoder.encode(words, pad=self.name != "PixArtAlphaPipeline") for encoder in self.encoders]
        if self.name == "FluxPipeline":
            return texts[1]["last_hidden_state"], texts[0]["pooler_output"]
        if self.name in ("StableDiffusionPipeline", "LatentConsistencyModelPipeline", "PixArtAlphaPipeline"):
            return (texts[0]["last_hidden_state"],)
        context = jnp.concatenate([text["penultimate"] for text in texts[:2]], -1)  # [1, T, E]
        if self.name == "StableDiffusionXLPipeline":
            return context, texts[1]["text_embeds"], jnp.asarray([[*size, 0, 0, *size]], jnp.float32)
        width = self.network.config["joint_attention_dim"]
        context = jnp.pad(context, [(0, 0), (0, 0), (0, width - context.shape[-1])])
        # Without its T5, Stable Diffusion 3 reads zeros in its place.
        more = texts[2]["last_hidden_state"] if len(texts) > 2 else jnp.zeros_like(context)
        pooled = jnp.concatenate([text["text_embeds"] for text in texts[:2]], -1)
        return jnp.concatenate([context, more], 1), pooled

    def _null(self, condition: tuple[jax.Array, ...], size: tuple[int, int]) -> tuple[jax.Array, ...]:
        """The condition of no words."""
        if self.name == "StableDiffusionXLPipeline" and self.index.get("force_zeros_for_empty_prompt", True):
            return *(jnp.zeros_like(x) for x in condition[:2]), condition[2]
        return self._condition("", size)

    def _predict(
        self, variables: Any, z: jax.Array, t: jax.Array, condition: tuple[jax.Array, ...], guidance: float
    ) -> jax.Array:
        """Predict noise or velocity of latents [B, h, w, C]; t is a timestep, of the flow 1000 times the time."""
        model, times = self.network.model, jnp.full(z.shape[0], t, jnp.float32)
        if self.name == "FluxPipeline":
            batch, rows, columns, channels = z.shape
            squares = z.reshape(batch, rows // 2, 2, columns // 2, 2, channels)
            tokens = squares.transpose(0, 1, 3, 5, 2, 4).reshape(batch, -1, 4 * channels)
            strength = jnp.full(batch, guidance, jnp.float32) if model.has_guidance else None
            positions = jnp.asarray(image_positions(rows // 2, columns // 2))
            tokens = model.apply(variables, tokens, times / 1000, *condition, positions, None, strength)
            squares = tokens.reshape(batch, rows // 2, columns // 2, channels, 2, 2)
            return squares.transpose(0, 1, 4, 2, 5, 3).reshape(z.shape)
        if KINDS[self.name].network == "unet":
            context, *added = condition
            strength = []
            if self._embeds_guidance:
                scales = jnp.full(z.shape[0], 1000 * (guidance - 1), jnp.float32)
                strength = [timestep_embedding(scales, model.guidance_features, ends_at_period=True)]
            return model.apply(variables, z, times, None, context, None, tuple(added) or None, *strength)
        # PixArt predicts the variance too.
        return model.apply(variables, z, times, *condition)[..., : z.shape[-1]]

    def _flow(self, steps: int, positions: int) -> Callable[[Callable, jax.Array], jax.Array]:
        """Solver of a flow of this many latents; Flux gives its own times, down to 1 / N before the shift."""
        patch = getattr(getattr(self.network, "model", None), "patch_size", 2)
        last = 1 / steps if self.name == "FluxPipeline" else None
        return flow_solver(self.scheduler, steps, positions / patch**2, last)

    def _diffusion(self, steps: int, noise: Noise | None = None) -> Callable[[Callable, jax.Array], jax.Array]:
        return diffusion_solver(self.scheduler, steps, noise)


def open_pipeline(
    folder: str | Path,
    *,
    sharding: Sharding | Callable[[str, tuple[int, ...]], Sharding] | None = None,
    param_dtype: Any = None,
) -> Pipeline:
    """Open a pipeline.

    Args:
      folder: folder with model_index.json, as diffusers writes it.
      sharding: sharding of all arrays of all parts, see `dlcore.pretrained.from_pretrained`; None keeps them on the
        default device.
      param_dtype: dtype in which arrays of floats are stored, such as jnp.bfloat16; None for float32.

    Returns:
      The pipeline; `pipeline.draw(words)` draws.

    Raises:
      FileNotFoundError: there is no such folder, or it lacks a part.
      ValueError: dlcore lacks the pipeline or a part of it, or a file is damaged.
      MissingPackage: `tokenizers` or `safetensors` is not installed.
    """
    folder = Path(folder)
    if not (folder / "model_index.json").is_file():
        raise FileNotFoundError(f"folder={str(folder)!r}: holds no model_index.json; allowed: a pipeline of diffusers")
    index = read_config(folder / "model_index.json")
    name = index.get("_class_name")
    if name not in KINDS:
        raise ValueError(f"folder={str(folder)!r}: {name} is not in dlcore; allowed: {', '.join(KINDS)}")
    kind, options = KINDS[name], {"sharding": sharding, "param_dtype": param_dtype}
    # A part that was left out is [null, null].
    encoders = [part for part in kind.encoders if index.get(part[0], [None])[0]]
    if len(encoders) < len(kind.encoders) and (name != "StableDiffusion3Pipeline" or len(encoders) < 2):
        missing = next(part[0] for part in kind.encoders if part not in encoders)
        raise ValueError(f"folder={str(folder)!r}: {missing} was left out; allowed: all text encoders of a {name}")
    return Pipeline(
        name,
        from_pretrained(folder / kind.network, **options),
        from_pretrained(folder / "vae", **options),
        tuple(open_prompt_encoder(folder, *part, **options) for part in encoders),
        read_config(folder / "scheduler" / "scheduler_config.json"),
        index,
    )
