"""A masked language model: hide some tokens of a text, and fill them in from what stands on both sides.

    L = mean over the chosen t of -log softmax(f_w(x'))_t[x_t]
    x'_t of a chosen t: the mask token (80 %), a random token (10 %), or x_t itself (10 %)

Devlin et al. 2018 (BERT), arXiv:1810.04805. Of each text the same share of tokens is chosen, 15 %. The model cannot
tell which of the tokens that it sees were chosen, so it has to say something about all of them. In evaluation every
chosen token is hidden, and the accuracy is the share of hidden tokens that are filled in right.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.learner import Learner, Metrics, Range, State, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean, softmax_cross_entropy_loss
from dlcore.metrics.classification import class_predictions
from dlcore.metrics.language import token_metrics
from dlcore.ops.checks import check_indices, check_shapes
from dlcore.optim import apply_gradients, init_state
from dlcore.sequence.language_model import check_rows

__all__ = ["hide_tokens", "learner", "two_sided_table_accuracy"]


def hide_tokens(
    key: jax.Array, tokens: jax.Array, mask_token: int, *, rate: float = 0.15, masked: float = 0.8, random: float = 0.1
) -> tuple[jax.Array, jax.Array]:
    """Choose tokens of a text and hide most of them, as a pure function of the key.

    Args:
      key: PRNG key of the draw.
      tokens: [T] int, below `mask_token`.
      mask_token: token that replaces a hidden one; the number of other tokens.
      rate: share of the tokens to choose; one at least is.
      masked: share of the chosen that the mask token replaces.
      random: share of the chosen that a token drawn uniformly replaces; the rest stays.

    Returns:
      (tokens to show [T] int32, bool [T]: chosen).
    """
    check_shapes(
        tokens=(tokens, "int T"),
        mask_token=(mask_token, "int >= 1"),
        rate=(rate, "0 to 1"),
        masked=(masked, "0 to 1"),
        random=(random, "0 to 1"),
    )
    check_indices("tokens", tokens, mask_token, "tokens below mask_token")
    if not tokens.shape[0]:
        raise ValueError("tokens: none; allowed: at least one")
    if masked + random > 1:
        raise ValueError(f"random={random}: with masked={masked} above 1; allowed: at most {1 - masked:g}")
    order, kind, token_key = jax.random.split(key, 3)
    count = max(1, round(rate * tokens.shape[0]))
    # Select a fixed number of tokens.
    rank = jax.random.permutation(order, tokens.shape[0])
    tokens = tokens.astype(jnp.int32)
    other = jax.random.randint(token_key, tokens.shape, 0, mask_token)
    uniform = jax.random.uniform(kind, tokens.shape)
    # Of these most are masked, some replaced, the rest unchanged.
    masked_tokens = jnp.where(uniform < masked, mask_token, jnp.where(uniform < masked + random, other, tokens))
    is_selected = rank < count
    return jnp.where(is_selected, masked_tokens, tokens), is_selected


def two_sided_table_accuracy(train: np.ndarray, test: np.ndarray, size: int) -> dict[str, float]:
    """Measure the models that a masked language model must beat, on every token of a text that has two neighbors.

    Args:
      train: [M] int tokens that are counted.
      test: [N] int tokens that are filled in.
      size: V, different tokens.

    Returns:
      {name: accuracy}: of the most frequent token, and of the one that was most frequent between the two neighbors (or
      overall, between neighbors that never stood so).
    """
    check_shapes(train=(train, "int M"), size=(size, "int >= 1"))
    check_shapes(test=(test, "int N"))
    for name, text in (("train", train), ("test", test)):
        if len(text) < 3:
            raise ValueError(f"{name}: {len(text)} tokens, none between two; allowed: at least 3")
    check_indices("train", train, size, "tokens")
    check_indices("test", test, size, "tokens")
    most_frequent = np.bincount(train, minlength=size).argmax()
    # Neighbors as one number, and the three tokens; of a table [V, V, V] almost all is empty.
    left, middle, right = (part.astype(np.int64) for part in (train[:-2], train[1:-1], train[2:]))
    triples, counts = np.unique((left * size + right) * size + middle, return_counts=True)
    neighbors = triples // size
    # The most frequent token between each two neighbors, of several the first.
    order = np.lexsort((triples, -counts, neighbors))
    observed, first = np.unique(neighbors[order], return_index=True)
    best = triples[order][first] % size
    expected = test[:-2].astype(np.int64) * size + test[2:]
    position = np.minimum(np.searchsorted(observed, expected), len(observed) - 1)
    filled = np.where(observed[position] == expected, best[position], most_frequent)
    inner = test[1:-1]
    return {
        "most frequent token": float((inner == most_frequent).mean()),
        "table of both neighbors": float((inner == filled).mean()),
    }


def _objective(
    model: nn.Module,
    params: Any,
    tokens: jax.Array,
    masked_tokens: jax.Array,
    is_selected: jax.Array,
    mask: jax.Array,
    dropout: jax.Array | None = None,
) -> tuple[jax.Array, Metrics]:
    """Return the mean loss of selected tokens [B, T] of examples [B]."""
    rngs = None if dropout is None else {"dropout": dropout}
    logits = model.apply({"params": params}, masked_tokens, dropout is not None, rngs=rngs)  # [B, T, V]
    target = tokens.astype(jnp.int32)
    # Only selected tokens count, whether masked, replaced or unchanged.
    nats = softmax_cross_entropy_loss(logits, target)  # [B, T]
    count = is_selected & (mask[:, None] > 0)  # [B, T]
    return masked_mean(nats, count), token_metrics(nats, logits, target, count)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    mask_token: Annotated[int, Range(1)],
    mask_rate: Annotated[float, Range(0.001, 1)] = 0.15,
    masked_share: Annotated[float, Range(0, 1)] = 0.8,
    random_share: Annotated[float, Range(0, 1)] = 0.1,
) -> Learner:
    """Train an encoder on `{"text": [B, L] int, "index": [B]}`, L at least the window T.

    Args:
      model: `__call__(tokens [B, T], train) -> logits [B, T, V]` with a field `window`, T, and V above `mask_token`.
      optimizer: any optax transformation.
      mask_token: token that replaces a hidden one; tokens of texts are below it.
      mask_rate: share of a text's tokens that are chosen.
      masked_share: share of the chosen tokens that are hidden in training.
      random_share: share of the chosen tokens that are replaced by random ones in training.

    Returns:
      The learner. `update` cuts a window out of every row, at a random place where the row is longer; `evaluate` and
      `predict` read the first window. `predict` returns `{"shown": [B, T] with `mask_token` at hidden places, "filled":
      [B, T] tokens}`.
    """
    if masked_share + random_share > 1:
        raise ValueError(
            f"random_share={random_share}: more than is left by masked_share={masked_share}; allowed: at most "
            f"{1 - masked_share:g}"
        )

    def hidden(rng: jax.Array, batch: dict) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Return the first windows, what is shown of them with all chosen tokens hidden, and which those are."""
        check_rows(batch, model.window, f"the window of {model.window} tokens")
        tokens = batch["text"][:, : model.window]
        hide = jax.vmap(lambda key, text: hide_tokens(key, text, mask_token, rate=mask_rate, masked=1.0, random=0.0))
        return tokens, *hide(example_keys(rng, batch), tokens)

    def init(rng: jax.Array, batch: dict) -> State:
        check_rows(batch, model.window, f"the window of {model.window} tokens")
        tokens = jnp.zeros((1, model.window), jnp.int32)
        params = model.init(jax.random.fold_in(rng, 0), tokens)["params"]
        return init_state(params, optimizer, rng)

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        return _objective(model, params, *hidden(state.rng, batch), mask_of(batch))

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        crop_key, mask_key, dropout_key = jax.random.split(jax.random.fold_in(state.rng, state.step), 3)
        check_rows(batch, model.window, f"the window of {model.window} tokens")
        # A random window of each row.
        spare = batch["text"].shape[1] - model.window

        def view(move: jax.Array, hide: jax.Array, text: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            start = jax.random.randint(move, (), 0, spare + 1)
            tokens = jax.lax.dynamic_slice_in_dim(text, start, model.window)
            return tokens, *hide_tokens(
                hide, tokens, mask_token, rate=mask_rate, masked=masked_share, random=random_share
            )

        # Select tokens to predict; most are masked, some replaced, some unchanged.
        views = jax.vmap(view)(example_keys(crop_key, batch), example_keys(mask_key, batch), batch["text"])
        # Gradient of the mean loss a selected token.
        objective = jax.grad(
            lambda params: _objective(model, params, *views, mask_of(batch), dropout_key), has_aux=True
        )
        gradients, metrics = objective(state.params)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        return loss(state.params, state, batch)[1]

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        tokens, masked_tokens, is_selected = hidden(state.rng, batch)
        logits = model.apply({"params": state.params}, masked_tokens, False)
        best = class_predictions(logits[..., :mask_token]).astype(jnp.int32)
        return {"shown": masked_tokens, "filled": jnp.where(is_selected, best, tokens.astype(jnp.int32))}

    def classes(state: State, batch: dict) -> dict[str, int]:
        return {"text": mask_token}

    return Learner(init, update, evaluate, predict, loss, classes=classes)
