"""Words about one photograph by a published vision-language model: LLaVA, PaliGemma, Gemma 3, SmolVLM, InternVL."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.decoding import load_image
from dlcore.learner import root_key
from dlcore.models.stored_arrays import read_config
from dlcore.ops.checks import check_range, check_shapes
from dlcore.pretrained import Pretrained, from_pretrained
from dlcore.pretrained.chat_prompt import expand_image, prompt_of
from dlcore.pretrained.processor import RESAMPLE, Processor
from dlcore.pretrained.prompt_encoder import open_tokenizer
from dlcore.pretrained.snapshot import PROCESSORS, text_folder
from dlcore.sequence.decoding import generate

__all__ = ["answer_file", "answer_tokens", "prepare_photograph"]

HALF = (0.5, 0.5, 0.5)


def prepare_photograph(net: Pretrained, photograph: np.ndarray, folder: Path) -> jax.Array:
    """Prepare a photograph as one image, without tiles.

    Args:
      net: the network.
      photograph: [H, W, 3] uint8.
      folder: folder of the published network.

    Returns:
      [1, H', W', 3]; where the published processor cuts tiles, the whole image at the side of one.
    """
    processor = net.preprocess
    if processor is None:
        file = next((folder / name for name in PROCESSORS if (folder / name).is_file()), None)
        about = {} if file is None else read_config(file)
        about = about.get("image_processor", about)
        side, mean, std = net.model.tower.image_size, about.get("image_mean", HALF), about.get("image_std", HALF)
        resample = RESAMPLE.get(about.get("resample", 3), "bicubic")
        processor = Processor(size=(side, side), mean=tuple(mean), std=tuple(std), resample=resample)
    return jnp.asarray(processor(photograph)["pixel_values"])


def answer_tokens(
    net: Pretrained,
    prompt: Sequence[int],
    images: jax.Array,
    stop_tokens: Sequence[int],
    max_tokens: int = 128,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[int]:
    """Continue a prompt by a cache of keys and values, in one compiled program.

    Args:
      net: a vision-language model.
      prompt: tokens, as many of them image tokens as the images have features.
      images: [N, H, W, 3], prepared.
      stop_tokens: tokens that end the answer.
      max_tokens: tokens of the longest answer.
      temperature: temperature of the distribution; 0 takes the most probable token.
      seed: seed of the draws.

    Returns:
      The tokens of the answer, without the stop token.
    """
    check_range("max_tokens", max_tokens, 1)
    model, length = net.model, len(prompt) + max_tokens
    stops = jnp.asarray(list(stop_tokens) or [-1])

    def merge_stops(logits: Any) -> jax.Array:
        """Let the first stop token stand for all of them."""
        if len(stop_tokens) < 2:
            return logits
        best = logits[:, stops].max(-1)
        return logits.at[:, stops].set(-jnp.inf).at[:, stops[0]].set(best)

    @jax.jit
    def run(variables, tokens, images, keys):
        cache = model.init_cache(1, length)
        lengths = jnp.full(1, tokens.shape[1])
        cache, logits = model.apply(variables, tokens, lengths, cache, images, method="prefill")

        def step(cache, tokens):
            logits, cache = model.apply(variables, tokens[:, None], cache=cache)
            return cache, merge_stops(logits[:, 0])

        stop = stop_tokens[0] if stop_tokens else None
        return generate(step, cache, merge_stops(logits), keys, max_tokens, temperature, stop)

    tokens = jnp.asarray([list(prompt)], jnp.int32)
    outputs, lengths = run(net.variables, tokens, images, jax.random.split(root_key(seed), 1))
    tokens = np.asarray(outputs[0, : int(lengths[0])]).tolist()
    return tokens[:-1] if tokens[-1:] and tokens[-1] in stop_tokens else tokens


def stop_tokens_of(net: Pretrained, folder: Path) -> list[int]:
    """Read the tokens that end an answer, of generation_config.json or of the configuration."""
    file = folder / "generation_config.json"
    configs = (read_config(file) if file.is_file() else {}, net.config, net.config.get("text_config", {}))
    stops = next((about["eos_token_id"] for about in configs if about.get("eos_token_id") is not None), [])
    return list(stops) if isinstance(stops, list) else [stops]


def answer_file(
    source: str,
    image: Path,
    words: str,
    max_tokens: int = 128,
    temperature: float = 0.0,
    seed: int = 0,
    dtype: str = "float32",
) -> str:
    """Ask a published model about an image file.

    Args:
      source: a hub id or a folder.
      image: path of the image.
      words: the question.
      max_tokens: tokens of the longest answer.
      temperature: temperature of the distribution; 0 takes the most probable token.
      seed: seed of the draws.
      dtype: dtype of the stored weights.

    Returns:
      The answer.

    Raises:
      FileNotFoundError: the folder, a file of it or the image is missing.
      ValueError: it holds no vision-language model, or the image cannot be read.
      MissingPackage: `safetensors` or `tokenizers` is not installed.
    """
    photograph = load_image(image)
    check_shapes(photograph=(photograph, "int H W 3"))
    net = from_pretrained(source, param_dtype=None if dtype == "float32" else jnp.dtype(dtype))
    if net.family.kind != "chat":
        raise ValueError(f"folder={source!r}: {net.name} reads no questions; allowed: such as LLaVA, Gemma 3, SmolVLM")
    folder = text_folder(source)
    tokenizer, architecture = open_tokenizer(folder), net.config["architectures"][0]
    images = prepare_photograph(net, photograph, folder)
    features = jax.eval_shape(lambda: net.model.apply(net.variables, images, method="encode_images"))
    token = net.model.image_token
    prompt = prompt_of(folder, architecture, words, tokenizer.id_to_token(token))
    tokens = expand_image(tokenizer, prompt, architecture, token, len(features))
    stops = stop_tokens_of(net, folder)
    outputs = answer_tokens(net, tokens, images, stops, max_tokens, temperature, seed)
    return tokenizer.decode(outputs, skip_special_tokens=True).strip()
