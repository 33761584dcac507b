"""Prompts as a published pipeline reads them: a folder's tokenizer, and the text encoder that it belongs to.

The tokenizer is tokenizer.json, or of CLIP vocab.json with merges.txt: words in lower case, split at spaces, numbers
and signs, then byte pairs whose last one of a word ends in </w>.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Sharding

from dlcore.data.text import read_utf8
from dlcore.data.words import tokenizer_from_json
from dlcore.extras import require
from dlcore.models.stored_arrays import read_config
from dlcore.pretrained import Pretrained, from_pretrained

__all__ = ["PromptEncoder", "check_words", "open_prompt_encoder", "open_tokenizer", "pad_token_of", "word_tokens"]

CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


CLIP_ENDS = ("<|startoftext|>", "<|endoftext|>")


class PromptEncoder(NamedTuple):
    """A tokenizer and its text encoder.

    Args:
      name: name of its folder, such as text_encoder_2.
      network: the text encoder.
      tokenizer: a `tokenizers.Tokenizer` that adds the tokens of the start and the end.
      pad_token: token that fills up a short prompt.
      window: the most tokens of a prompt.
    """

    name: str
    network: Pretrained
    tokenizer: Any
    pad_token: int
    window: int

    def tokens(self, words: str) -> np.ndarray:
        """Encode a prompt without padding.

        words, the prompt -> [n] int32, at most the window; of a longer one the beginning and the end token.
        """
        tokens = self.tokenizer.encode(words).ids
        return np.array(tokens if len(tokens) <= self.window else [*tokens[: self.window - 1], tokens[-1]], np.int32)

    def rest(self, words: str) -> str:
        """Find what of a prompt is not read: words, the prompt -> the end of the prompt; empty where all is read."""
        encoding = self.tokenizer.encode(words)
        return "" if len(encoding.ids) <= self.window else words[encoding.offsets[self.window - 1][0] :]

    def encode(self, words: str, pad: bool = True) -> dict[str, jax.Array]:
        """Read a prompt.

        words, the prompt; pad, whether to fill it up to the window (the encoder reads that, too) -> the network's
        outputs, [1, T, ...] or [1, ...].
        """
        tokens = self.tokens(words)
        if pad:
            tokens = np.pad(tokens, (0, self.window - len(tokens)), constant_values=self.pad_token)
        return self.network(input_ids=tokens[None])


def open_prompt_encoder(
    folder: Path,
    name: str,
    tokenizer: str,
    window: int,
    *,
    sharding: Sharding | Callable[[str, tuple[int, ...]], Sharding] | None = None,
    param_dtype: Any = None,
) -> PromptEncoder:
    """Open a text encoder of a pipeline.

    Args:
      folder: folder of the pipeline.
      name: name of the text encoder's folder.
      tokenizer: name of the tokenizer's folder.
      window: the most tokens of a prompt; CLIP has its own.
      sharding: see `dlcore.pretrained.from_pretrained`.
      param_dtype: see `dlcore.pretrained.from_pretrained`.

    Returns:
      The encoder.

    Raises:
      FileNotFoundError: a folder lacks its files.
      ValueError: a file is damaged, or the tokenizer has tokens that the network lacks.
      MissingPackage: `tokenizers` or `safetensors` is not installed.
    """
    built = open_tokenizer(folder / tokenizer)
    network = from_pretrained(folder / name, sharding=sharding, param_dtype=param_dtype)
    size = network.model.vocab_size
    if built.get_vocab_size() > size:
        raise ValueError(
            f"{folder / tokenizer}: {built.get_vocab_size()} tokens; allowed: at most {size}, the vocabulary of {name}"
        )
    window = min(window, getattr(network.model, "window", window))
    return PromptEncoder(name, network, built, pad_token_of(folder / tokenizer, built), window)


def open_tokenizer(folder: Path) -> Any:
    """Open the tokenizer of a folder.

    Args:
      folder: folder with tokenizer.json, or with CLIP's vocab.json and merges.txt.

    Returns:
      A `tokenizers.Tokenizer` that adds the tokens of the start and the end.

    Raises:
      FileNotFoundError: the folder lacks these files.
      ValueError: a file is damaged.
      MissingPackage: `tokenizers` is not installed.
    """
    require("tokenizers", what=f"{folder}")
    if (folder / "tokenizer.json").is_file():
        return tokenizer_from_json(read_utf8(folder / "tokenizer.json", "tokenizer"))
    files = folder / "vocab.json", folder / "merges.txt"
    if missing := [file.name for file in files if not file.is_file()]:
        raise FileNotFoundError(
            f"{folder}: holds no {missing[0]}; allowed: a folder with tokenizer.json, or with vocab.json and merges.txt"
        )
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = read_config(files[0])
    lines = read_utf8(files[1], "merges.txt").splitlines()
    merges = [tuple(line.split()) for line in lines if line.strip() and not line.startswith("#version")]
    if missing := [token for token in CLIP_ENDS if token not in vocabulary]:
        raise ValueError(f"{files[0]}: has no {missing[0]}; allowed: the vocabulary of a CLIP")
    start, end = CLIP_ENDS
    built = Tokenizer(models.BPE(vocabulary, merges, unk_token=end, end_of_word_suffix="</w>"))
    spaces = normalizers.Replace(Regex(r"\s+"), " ")
    built.normalizer = normalizers.Sequence([normalizers.NFC(), spaces, normalizers.Lowercase()])
    split = pre_tokenizers.Split(Regex(CLIP_WORDS), "removed", invert=True)
    built.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    built.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(token, vocabulary[token]) for token in CLIP_ENDS]
    )
    return built


def pad_token_of(folder: Path, tokenizer: Any) -> int:
    """Find the token of padding.

    Args:
      folder: folder of the tokenizer's files.
      tokenizer: a `tokenizers.Tokenizer`.

    Returns:
      The token that the files name; CLIP's end token where they name none, else 0.
    """
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / file).is_file():
            word = read_config(folder / file).get("pad_token")
            word = word["content"] if isinstance(word, dict) else word
            if word is not None and (token := tokenizer.token_to_id(word)) is not None:
                return token
    end = tokenizer.token_to_id(CLIP_ENDS[1])
    return 0 if end is None else end


MOST_WORDS = 1000


def check_words(words: str) -> tuple[str, ...]:
    """Split the text of a command line into names of objects.

    Args:
      words: names with commas between, such as "a cat,a dog".

    Returns:
      The names without spaces around them.
    """
    names = tuple(name.strip() for name in words.split(","))
    if len(names) > MOST_WORDS:
        raise ValueError(f"words: {len(names)} names; allowed: at most {MOST_WORDS}")
    for k, name in enumerate(names):
        if not any(letter.isalpha() for letter in name):
            raise ValueError(f"words={words!r}: {name!r} has no letter; allowed: names with commas between")
        if name in names[:k]:
            raise ValueError(f"words={words!r}: {name!r} comes twice; allowed: each name once")
    return names


def word_tokens(
    tokenizer: Any, names: Sequence[str], window: int, vocab_size: int, argument: str = "words"
) -> np.ndarray:
    """Encode names of objects.

    Args:
      tokenizer: a `tokenizers.Tokenizer` that adds the tokens of the start and the end.
      names: the names.
      window: the most tokens of a name.
      vocab_size: tokens that the text encoder knows.
      argument: argument that the names were given as, for errors.

    Returns:
      [T, window] int32, filled up with 0.
    """
    if tokenizer.get_vocab_size() > vocab_size:
        count = tokenizer.get_vocab_size()
        raise ValueError(f"tokenizer: {count} tokens; allowed: at most {vocab_size}, the vocabulary of the network")
    tokens = np.zeros((len(names), window), np.int32)
    for row, name in zip(tokens, names, strict=True):
        ids = tokenizer.encode(name).ids
        if len(ids) > window:
            raise ValueError(f"{argument}={name!r}: {len(ids)} tokens with start and end; allowed: at most {window}")
        row[: len(ids)] = ids
    return tokens
