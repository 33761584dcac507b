"""Read text in images: by connectionist temporal classification (CTC), or by attention with CTC as a second loss.

    p(path | image)   = prod_t softmax(W h_t)[path_t]         h_t: column t of the convolutional features
    p(string | image) = sum of p(path | image) over the paths that collapse to the string
    collapse(path)    : one of each run of equal symbols, then no blanks       (1 1 _ 1 2 2 -> 1 1 2)
    L = -mean over the batch of log p(string | image)

Graves et al. 2006 (ICML), with the features of Shi, Bai & Yao 2015 (arXiv:1507.05717) without their LSTM: the receptive
field of a column is a character wide. Columns are read independently of each other, from left to right by construction.

The reader that attends is `captioning` with `ShowAttendTell` over a `TextEncoder` (show, attend and read, Li et al.
2018, arXiv:1811.00751): it has to learn where the next character stands. `joint_learner` trains both heads on one
encoder, as Kim, Hori & Watanabe 2016, arXiv:1609.06773:

    L = L_attention + w L_CTC

PAD is the blank. Predictions take the most probable symbol of each column, and collapse the path.
"""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.data.words import END, PAD, START, UNKNOWN
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, mask_of
from dlcore.losses import ctc_loss, masked_mean
from dlcore.nn import Dense
from dlcore.nn.position import grid_positions
from dlcore.optim import apply_gradients
from dlcore.vision_language.networks import GridEncoder
from dlcore.vision_language.references import is_reference

__all__ = ["CTCReader", "TextEncoder", "collapse", "joint_learner", "learner", "reading_order"]


class TextEncoder(nn.Module):
    """A small convolutional network that keeps columns apart: [B, H, W, 3] -> [B, H / 8, W / 4, 2 width].

    The position of each cell is added to its features: sines of the column and the row.

    Args:
      width: number of channels of the first layer, a multiple of 8; the others have twice as many.
      dtype: dtype of computation; None takes the parameters'.
    """

    width: Annotated[int, Range(8)] = 24
    dtype: Any = None

    def setup(self):
        """Build the convolutional layers."""
        channels = (self.width, *[2 * self.width] * 3)
        self.grid = GridEncoder(channels, ((2, 2), (2, 2), (2, 1), (1, 1)), dtype=self.dtype)

    def features(self, images: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Encode images.

        Args:
          images: [B, H, W, 3], normalized.
          train: of no account here; captioners pass it to their backbones.

        Returns:
          {"text": [B, H / 8, W / 4, 2 width]}.
        """
        x = self.grid(images)
        return {"text": x + jnp.asarray(grid_positions(*x.shape[1:]).reshape(x.shape[1:]), x.dtype)}


class CTCReader(nn.Module):
    """Symbols of each column of an image: [B, H, W, 3] -> logits [B, W / 4, V].

    Args:
      encoder: a module with `features(images) -> {name: [B, h, w, C]}`, as TextEncoder.
      vocab_size: V, number of tokens; PAD is the blank.
      hidden_size: width of the layer over the features of a column.
      dtype: dtype of computation; None takes the parameters'.
    """

    encoder: nn.Module
    vocab_size: int
    hidden_size: Annotated[int, Range(1)] = 128
    dtype: Any = None

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Give the logits of each column.

        Args:
          images: [B, H, W, 3], normalized.

        Returns:
          [B, W / 4, V] float32.
        """
        x = list(self.encoder.features(images).values())[-1].swapaxes(1, 2)  # [B, w, h, C]
        x = nn.relu(Dense(self.hidden_size, dtype=self.dtype, name="column")(x.reshape(*x.shape[:2], -1)))
        return Dense(self.vocab_size, dtype=self.dtype, name="head")(x).astype(jnp.float32)


def collapse(path: jax.Array, max_length: int) -> tuple[jax.Array, jax.Array]:
    """Collapse a path of CTC: keep one of each run of equal symbols, then leave the blanks out.

    Args:
      path: [B, T] int, a token a column; PAD is the blank.
      max_length: L, longest string, its END included; what does not fit is left out.

    Returns:
      (tokens [B, L] int32, c1 .. cn END PAD; lengths [B], n + 1).
    """
    before = jnp.pad(path, ((0, 0), (1, 0)))[:, :-1]  # PAD stands before the first column
    starts = (path != PAD) & (path != before)  # [B, T]
    position = jnp.where(starts, jnp.cumsum(starts, 1) - 1, max_length)
    rows = jnp.arange(len(path))[:, None]
    tokens = jnp.full((len(path), max_length), PAD, jnp.int32).at[rows, position].set(path, mode="drop")
    length = jnp.minimum(starts.sum(1), max_length - 1)
    tokens = jnp.where(jnp.arange(max_length) < length[:, None], tokens, PAD)
    return tokens.at[rows[:, 0], length].set(END), length + 1


def reading_order(tokens: np.ndarray, alignment: np.ndarray) -> np.ndarray:
    """Rank the centers of attention of each string's characters against the order in which they are read.

    Args:
      tokens: [B, L] int, c1 .. cn END PAD.
      alignment: [B, L, h, w], weights of sum 1 over positions, a map a character.

    Returns:
      [B] Spearman's rank correlation of the center's column with the position in the string: 1 where every next
      character is read further to the right; NaN for strings of fewer than two characters.
    """
    columns = np.asarray(alignment, np.float64).sum(2)  # [B, L, w]
    centers = (columns * np.arange(columns.shape[-1])).sum(-1)  # [B, L]
    correlations = np.full(len(tokens), np.nan)
    for i, (row, center) in enumerate(zip(np.asarray(tokens), centers, strict=True)):
        n = int((row > END).sum())
        if n > 1:
            ranks = center[:n].argsort().argsort()
            correlations[i] = np.corrcoef(ranks, np.arange(n))[0, 1]
    return correlations


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    preprocess: Callable[[jax.Array], jax.Array] = lambda image: image,
    max_length: Annotated[int, Range(2)] = 6,
) -> Learner:
    """Learn to read `{"image": [B, H, W, 3], "captions": [B, 1, T] int32, "index": [B]}` by CTC.

    Args:
      model: `__call__(images) -> logits [B, W', V]`, a symbol a column, as CTCReader.
      optimizer: any optax transformation.
      preprocess: batch of images to the model's input.
      max_length: characters of the longest string that is read, its END included.

    Returns:
      The learner. A caption is START c1 .. cn END PAD, as those of `captioning`. `exact_match` is the share of strings
      that are read without a mistake. `predict` reads `image` alone and gives `{"tokens": [B, max_length],
      "length": [B]}`, c1 .. cn END with PAD behind and n + 1.
    """

    def logits_of(params: Any, batch: dict) -> jax.Array:
        return model.apply({"params": params}, preprocess(batch["image"]))

    def read(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        # START, END and UNKNOWN stand in no image.
        path = logits.at[..., np.array([START, END, UNKNOWN])].set(-jnp.inf).argmax(-1)  # [B, W']
        return collapse(path, max_length)

    def init(rng: jax.Array, batch: dict) -> State:
        params = model.init(jax.random.fold_in(rng, 0), preprocess(batch["image"]))["params"]
        return State(jnp.zeros((), jnp.int32), jax.random.fold_in(rng, 1), params, optimizer.init(params))

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        mask, logits = mask_of(batch), logits_of(params, batch)  # [B, W', V]
        # The characters between START and END.
        labels = batch["captions"][:, 0, 1:]  # [B, T - 1]
        losses = ctc_loss(logits, labels, labels_length=(labels > END).sum(1), blank=PAD)  # [B]
        exact = is_reference(read(logits)[0], batch["captions"])
        return masked_mean(losses, mask), {"loss": Sum.of(losses, mask), "exact_match": Sum.of(exact, mask)}

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # Gradient of the mean loss a string.
        gradients, metrics = jax.grad(loss, has_aux=True)(state.params, state, batch)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        return loss(state.params, state, batch)[1]

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        tokens, length = read(logits_of(state.params, batch))
        return {"tokens": tokens, "length": length}

    def classes(state: State, batch: dict) -> dict[str, int]:
        return {"captions": model.vocab_size}

    return Learner(init, update, evaluate, predict, loss, classes=classes)


@check_arguments
def joint_learner(
    *,
    attention: Learner,
    ctc: Learner,
    optimizer: optax.GradientTransformation,
    ctc_weight: Annotated[float, Range(0)] = 0.5,
) -> Learner:
    """Train a reader that attends and one by CTC, which share the encoder.

    Args:
      attention: `captioning.learner` of a `ShowAttendTell` whose backbone is the encoder.
      ctc: `learner` of a `CTCReader` with the same encoder.
      optimizer: any optax transformation; those of the two learners are not used.
      ctc_weight: w, weight of the CTC loss; 0 trains the attention alone.

    Returns:
      The learner. Metrics are those of `attention`, and `ctc_exact_match`, the share of strings that the CTC head reads
      without a mistake; `predict` is that of `attention`.
    """

    def parts(params: dict) -> tuple[dict, dict]:
        return params["attention"], {**params["ctc"], "encoder": params["attention"]["backbone"]}

    def init(rng: jax.Array, batch: dict) -> State:
        state = attention.init(rng, batch)
        head = {name: leaf for name, leaf in ctc.init(rng, batch).params.items() if name != "encoder"}
        params = {"attention": state.params, "ctc": head}
        return state.replace(params=params, opt_state=optimizer.init(params))

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        attending, reading = parts(params)
        value, metrics = attention.loss(attending, state, batch)
        second, ctc_metrics = ctc.loss(reading, state, batch)
        return value + ctc_weight * second, metrics | {"ctc_exact_match": ctc_metrics["exact_match"]}

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # Gradient of both losses.
        gradients, metrics = jax.grad(loss, has_aux=True)(state.params, state, batch)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        return loss(state.params, state, batch)[1]

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        return attention.predict(state.replace(params=state.params["attention"]), batch)

    return Learner(init, update, evaluate, predict, loss, classes=attention.classes)
