"""A GPT or BERT that reads a text for another task: its form, its tokens, and the weights that it starts from.

`--init_from` takes a run of sequence.language_model or of sequence.masked_language_model, or a folder of published
weights; `pretraining` finds or trains such a run on the text of the data set.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.data.splits import Spec
from dlcore.data.text import Vocabulary, read_utf8
from dlcore.data.words import tokenizer_from_json
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.extras import require
from dlcore.learner import CheckedRecord, Range
from dlcore.models import bert, create_model, gpt2
from dlcore.setting import FlagError, Setting, field_settings
from dlcore.weights import earlier_run
from dlcore.weights.open import Weights, open_weights
from dlcore.weights.start import Start

__all__ = ["TextEncoder", "build", "check", "decode", "facts", "origin", "start", "text_encoder"]

PRETRAINING = "pretraining"


PAGES = {"gpt2": "sequence.language_model", "bert": "sequence.masked_language_model"}


FAMILIES = {"gpt2": gpt2, "bert": bert}


MODULES = {"gpt2": gpt2.GPT2, "bert": bert.BERT}


FORM = ("num_layers", "num_heads", "width")


MASKED_WINDOW = 32
"""Least window of a masked language model that is trained first: it learns from 15 % of it, of 9 tokens from one."""


@dataclasses.dataclass(frozen=True)
class TextEncoder(CheckedRecord):
    """The network that reads a text, its tokens, and the weights that it starts from.

    Args:
      model: network that reads a text
      num_layers: blocks of a network that is not from weights
      num_heads: attention heads of a network that is not from weights
      width: features of a token in a network that is not from weights
      dropout: probability to drop a feature in training
      init_from: weights to start from: a run of sequence.language_model (gpt2) or sequence.masked_language_model
        (bert), or a folder of `dlcore convert`; pretraining finds or trains such a run on the text of --dataset; none
        starts from random ones
      pretraining_steps: training steps of --init_from=pretraining
      tokenizer: tokenizer.json of published weights; by default tokens are characters
      given: names of the fields that have to be those of the weights.
    """

    model: Annotated[Literal["gpt2", "bert"], "essential"] = "gpt2"
    num_layers: Annotated[int, Range(1)] = 2
    num_heads: Annotated[int, Range(1)] = 4
    width: Annotated[int, Range(1)] = 64
    dropout: Annotated[float, Range(0, 0.99)] = 0.1
    init_from: Annotated[str | None, "essential"] = PRETRAINING
    pretraining_steps: Annotated[int, Range(1)] = 1000
    tokenizer: Annotated[str | None, "essential"] = None
    given: frozenset[str] = frozenset()

    @property
    def settings(self) -> dict[str, Setting]:
        """The flag `--init_from`, with where its weights come from."""
        return {"init_from": field_settings(self)["init_from"]._replace(origin=origin)}

    def with_flags(self, flags: Flags) -> "TextEncoder":
        """Return the record with the values of the flags."""
        values = {name: flags[name] for name in field_settings(self) if name in flags}
        return dataclasses.replace(self, **values, given=flags.given)


def origin(flags: Any) -> Weights | None:
    """Read where the weights of `--init_from` come from.

    Args:
      flags: `TextEncoder`, or flags of the same names.

    Returns:
      The origin; None without weights, or where the page trains a run first.

    Raises:
      ValueError: there are no weights.
      FlagError: they are of another network, or read other tokens than the flags say.
    """
    if flags.init_from in (None, PRETRAINING):
        return None
    found = open_weights(flags.init_from, "init_from")
    page, names = PAGES[flags.model], FAMILIES[flags.model].MODELS
    if found.page != page and not (found.page is None and found.model in names):
        given = f"weights of {found.model}" if found.page is None else f"a run of {found.page}"
        allowed = f"a run of {page}, or a folder of `dlcore convert` with {' or '.join(names)}"
        raise FlagError(f"--{found.name}: {given}; allowed: with --model={flags.model} {allowed}")
    if found.page is None and flags.tokenizer is None:
        raise FlagError(f"--{found.name}: reads tokens of its own; allowed: beside --tokenizer, its tokenizer.json")
    if found.page is not None and flags.tokenizer is not None:
        raise FlagError(f"--tokenizer={flags.tokenizer}: --{found.name} reads characters; allowed: none")
    network = _network(flags, found)
    for name in FORM:
        if name in flags.given and getattr(flags, name) != getattr(network, name):
            raise FlagError(
                f"--{name}={getattr(flags, name)}: not that of --{found.name}; allowed: {getattr(network, name)}"
            )
    return found


def _network(flags: Any, found: Weights | None, vocab_size: int = 2, window: int = 2) -> nn.Module:
    """The network in the form of its weights; without some, in that of the flags, for a vocabulary and a window."""
    extra = {"head": "pooled"} if flags.model == "bert" else {}  # without the head that fills in tokens
    if found is not None and found.page is None:
        return create_model(found.model, **(found.fields | extra | {"dropout": flags.dropout}))
    if found is not None:
        fields, vocab_size = found.fields | {"window": found.settings["window"]}, len(found.spec["vocabulary"])
    else:
        fields = {name: getattr(flags, name) for name in FORM} | {"window": window}
        fields |= {"mlp_features": 4 * flags.width} if flags.model == "bert" else {}
    if flags.model == "bert" and flags.tokenizer is None:
        vocab_size += 1  # the mask token
    return MODULES[flags.model](**(fields | extra | {"vocab_size": vocab_size, "dropout": flags.dropout}))


def check(flags: Any, dataset: str) -> Any:
    """Check that the flags fit together.

    Args:
      flags: `TextEncoder`, or flags of the same names.
      dataset: name of the texts.

    Returns:
      A network of the form that they say, for any vocabulary.
    """
    found = origin(flags)
    if flags.tokenizer is not None:
        require("tokenizers", what="--tokenizer")
        _tokenizer(flags.tokenizer)
        if flags.init_from == PRETRAINING:
            raise FlagError(f"--tokenizer={flags.tokenizer}: --init_from=pretraining reads characters; allowed: none")
    if flags.init_from == PRETRAINING and dataset == "file":
        raise FlagError("--init_from=pretraining: of embedded texts; allowed with --dataset=file: weights, or none")
    if found is None and flags.width % flags.num_heads:
        raise FlagError(f"--num_heads={flags.num_heads}: does not divide --width={flags.width}; allowed: a divisor")
    return _network(flags, found)


@functools.cache
def _tokenizer(path: str) -> Any:
    if not Path(path).is_file():
        raise FlagError(f"--tokenizer={path}: no such file; allowed: a tokenizer.json")
    try:
        return tokenizer_from_json(read_utf8(Path(path), "tokenizer"))
    except Exception as error:  # the package raises no class of its own
        raise FlagError(f"--tokenizer={path}: {error}; allowed: a tokenizer.json") from None


def text_encoder(flags: Any, spec: Spec, what: str) -> Callable[[str], np.ndarray]:
    """Build what turns texts into tokens.

    Args:
      flags: `TextEncoder`, or flags: `tokenizer`.
      spec: facts of the data, with `vocabulary`, the characters, where there is no tokenizer.
      what: names the vocabulary in errors, such as `--init_from='run'`.

    Returns:
      Text -> tokens [n] int32.

    Raises:
      FlagError: there is no tokenizer.json; when called: a text has characters outside the vocabulary, which are named.
    """
    if "vocabulary" not in spec:
        tokenizer = _tokenizer(flags.tokenizer)
        return lambda text: np.array(tokenizer.encode(text).ids, np.int32)
    vocabulary = Vocabulary(spec["vocabulary"])

    def encode(text: str) -> np.ndarray:
        if unknown := sorted(set(text) - set(vocabulary.characters)):
            missing = ", ".join(map(repr, unknown[:5])) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
            size = len(vocabulary.characters)
            raise FlagError(f"{what}: its vocabulary lacks {missing}; allowed: texts of its {size} characters")
        return vocabulary.encode(text).astype(np.int32)

    return encode


def decode(flags: Any, spec: Spec, tokens: np.ndarray) -> str:
    """Turn tokens into text.

    Args:
      flags: `TextEncoder`, or flags: `tokenizer`.
      spec: see `text_encoder`.
      tokens: [n] int.
    """
    if "vocabulary" in spec:
        return Vocabulary(spec["vocabulary"]).decode(tokens)
    return _tokenizer(flags.tokenizer).decode(tokens.tolist())


def facts(flags: Any, dataset: str, texts: list[str], whole: str) -> tuple[list[np.ndarray], Spec]:
    """Tokenize texts by the vocabulary of the weights, and describe the network that reads them.

    Args:
      flags: `TextEncoder`, or flags of the same names.
      dataset: name of the texts, for errors.
      texts: N texts.
      whole: a text with the characters of the vocabulary where no weights say them.

    Returns:
      (tokens of each text, spec): `vocabulary` where tokens are characters; `network`, the fields of the module;
      `cls_token`, the token that a BERT of characters has in front, its mask token, else None; `longest`, the most
      tokens of a text.

    Raises:
      FlagError: the vocabulary lacks characters of the texts, or has another size than the weights'.
    """
    found, spec, is_bert = origin(flags), {}, flags.model == "bert"
    if flags.tokenizer is None:
        spec["vocabulary"] = Vocabulary.of(whole).characters if found is None else found.spec["vocabulary"]
        size = len(spec["vocabulary"])
    else:
        size = _tokenizer(flags.tokenizer).get_vocab_size()
    encode = text_encoder(flags, spec, f"--dataset={dataset}" if found is None else f"--{found.name}")
    tokens = [encode(text) for text in texts]
    has_cls = is_bert and flags.tokenizer is None
    window = max(map(len, tokens)) + has_cls
    if is_bert and flags.init_from == PRETRAINING:
        window = max(window, MASKED_WINDOW)
    network = _network(flags, found, size, window)
    if flags.tokenizer is not None and size != network.vocab_size:
        raise FlagError(f"--tokenizer={flags.tokenizer}: {size} tokens; allowed: {network.vocab_size}, as the weights")
    names = {f.name for f in dataclasses.fields(network)} - {"parent", "name", "dtype"}
    spec["network"] = {name: getattr(network, name) for name in sorted(names)}
    spec |= {"cls_token": size if has_cls else None, "longest": network.window - has_cls}
    return tokens, spec


def build(run: Run) -> nn.Module:
    """Build the network."""
    return MODULES[run.flags.model](**run.spec["network"], dtype=run.dtype)


def _pretrained(run: Run, pages: Mapping[str, Experiment]) -> dict:
    """Return the parameters that `--init_from` names, or of a run on the text of the data set."""
    flags, network = run.flags, run.spec["network"]
    found = origin(flags)
    if found is not None:
        return found.variables()["params"]
    words = [f"--dataset={flags.dataset}", f"--window={network['window']}"]
    words += [f"--model.{name}={network[name]}" for name in (*FORM, "mlp_features") if name in network]
    if not flags.smoke:
        words += [f"--steps={flags.pretraining_steps}", "--batch_size=64", "--learning_rate=2e-3", "--eval_every=500"]
    folder = earlier_run.find_or_train(flags.replace(init_from=None), "init_from", pages[flags.model], words)
    phase = earlier_run.load(folder)
    earlier_run.check_facts(f"init_from={str(folder)!r}", phase.spec, run.spec, "vocabulary")
    return phase.params


def start(run: Run, pages: Mapping[str, Experiment]) -> Start | None:
    """Start the module `network` from the weights of `--init_from`; other modules start anew.

    Args:
      run: facts of the run, with the flags of `TextEncoder` and the spec of `facts`.
      pages: model -> page that trains it where `--init_from` asks for that.

    Returns:
      State -> State with the weights and a new optimizer state; None without `--init_from`.

    Raises:
      ValueError: when applied or checked: the weights do not fit.
    """
    flags = run.flags
    if flags.init_from is None:
        return None
    load = functools.cache(lambda: _pretrained(run, pages))

    def fitted(state: Any) -> Any:
        from dlcore.weights.fit import fit_weights

        wanted = state.params["network"]
        # The heads that fill in tokens serve nothing here.
        weights = {name: leaves for name, leaves in load().items() if name in wanted}
        return {**state.params, "network": fit_weights(weights, wanted, f"init_from={flags.init_from!r}")[0]}

    def replace(state: Any) -> Any:
        params = jax.tree.map(jnp.asarray, fitted(state))
        return state.replace(params=params, opt_state=jax.jit(run.optimizer().init)(params))

    return Start(replace, lambda state: None if flags.init_from == PRETRAINING else fitted(state) and None)
