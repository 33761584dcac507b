"""Which parameters are kernels: those that weight decay and penalties are for.

A module says so by the name of its parameter, as flax's layers do: a `kernel`, or a table of words. What it names
otherwise is left alone, whatever its shape:

    a bias, a scale                   hidden_bias, bias0, attention_biases, bias_table/embedding, a conditional norm's
                                      scale, alpha and beta of an affine layer, a temperature
    a token, a query, an input        cls_token, mask_token, probe, queries, latent, constant
    a position, except its kernel     pos_embed/embedding, wpe/embedding, text_positions/embedding, query_positions
    a segment, as a position          token_type_embeddings/embedding

Numbers at the end of a word do not count.
"""

import re

import jax

__all__ = ["is_kernel"]

_LAST = frozenset(
    {
        *("bias", "biases", "scale", "alpha", "beta", "temperature", "token", "tokens", "probe", "query", "queries"),
        *("latent", "constant"),
    }
)
"""The last word of the name of a parameter that is no kernel."""
_ANY = frozenset({"place", "pos", "position", "positions", "segment", "segments", "type", "wpe"})
"""A word of the path of a parameter that is no kernel, unless it is called one."""


def is_kernel(path: tuple, leaf: jax.Array) -> bool:
    """Whether a parameter is a kernel: it has two axes or more, and its name is not that of a bias, a scale, a token, a
    query, a position or a segment.

    Args:
      path: path of the parameter, as `jax.tree_util.tree_map_with_path` returns it.
      leaf: the parameter.

    Returns:
      True for kernels.
    """
    if leaf.ndim < 2:
        return False
    names = [
        _words(str(key)) for part in path if (key := getattr(part, "key", getattr(part, "name", None))) is not None
    ]
    if not names or names[-1] == ["kernel"]:
        return True
    tables = any(words[0] == "bias" or words[-1] == "bias" for words in names)
    return not tables and names[-1][-1] not in _LAST and _ANY.isdisjoint(word for words in names for word in words)


def _words(name: str) -> list[str]:
    """Return the words of a name, without the numbers at their ends: hidden0_bias -> hidden, bias."""
    return [re.sub(r"\d+$", "", word) for word in name.split("_") if not word.isdigit()] or [name]
