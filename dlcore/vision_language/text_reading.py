"""Read text in images: by connectionist temporal classification (CTC), or by attention with CTC as a second loss.

    p(path | image)   = prod_t softmax(W h_t)[path_t]         h_t: column t of the convolutional features
    p(string | image) = sum of p(path | image) over the paths that collapse to the string
    collapse(path)    : one of each run of equal symbols, then no blanks       (1 1 _ 1 2 2 -> 1 1 2)
    L = -mean over the batch of log p(string | image)

Graves et al. 2006 (ICML), with features after Shi, Bai & Yao 2015 (arXiv:1507.05717) without their LSTM: a column sees
26 pixels of the width, two or three characters. Columns are read from left to right by construction.

The reader that attends (show, attend and read, Li et al. 2018, arXiv:1811.00751) is a captioner, and has to learn where
the next character stands. It trains its own loss with that of CTC on the same features, as Kim, Hori & Watanabe 2016,
arXiv:1609.06773: CTC soon tells the characters apart, and the attention then has only to find them.

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

from dlcore.choices import check_whole_number
from dlcore.data.words import END, PAD, START, UNKNOWN
from dlcore.learner import Learner, Metrics, ModelState, Range, State, Sum, check_arguments, mask_of
from dlcore.losses import ctc_loss, masked_mean
from dlcore.nn import BatchNorm, Conv, Dense
from dlcore.nn.apply import apply_model
from dlcore.nn.position import grid_positions
from dlcore.ops import max_pool
from dlcore.ops.checks import check_range, check_shapes
from dlcore.optim import apply_gradients, init_model_state
from dlcore.vision_language import captioning
from dlcore.vision_language.references import is_reference
from dlcore.vision_language.show_attend_tell import ShowAttendTell

__all__ = [
    "AttendingReader",
    "CTCReader",
    "TextEncoder",
    "attention_learner",
    "collapse",
    "learner",
    "reading_learner",
    "reading_order",
]


class TextEncoder(nn.Module):
    """A small convolutional network that keeps columns apart: [B, H, W, 3] -> [B, 1, W / 4, 4 width].

    Four layers of a 3 x 3 convolution, batch norm, a rectifier and max pooling. The first two pools halve height and
    width, the third the height alone, and the last takes the largest value of each column. Sines of the column's
    position are added to its features.

    Args:
      width: number of channels of the first layer; the others have 2, 2 and 4 times as many.
      dtype: dtype of computation; None takes the parameters'.
    """

    width: Annotated[int, Range(1)] = 16
    dtype: Any = None

    def setup(self):
        """Build the convolutional layers."""
        channels = (self.width, 2 * self.width, 2 * self.width, 4 * self.width)
        self.convs = [Conv(c, (3, 3), use_bias=False, dtype=self.dtype) for c in channels]
        self.norms = [BatchNorm(dtype=self.dtype) for _ in channels]

    def features(self, images: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Encode images.

        Args:
          images: [B, H, W, 3], normalized; H a multiple of 8, W of 4.
          train: normalize by the statistics of the batch.

        Returns:
          {"text": [B, 1, W / 4, 4 width]}.
        """
        x = images
        for conv, norm, pool in zip(self.convs, self.norms, ((2, 2), (2, 2), (2, 1), None), strict=True):
            x = nn.relu(norm(conv(x), use_running_average=not train))
            pool = pool or (x.shape[1], 1)
            x = max_pool(x, pool, pool)
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
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Give the logits of each column.

        Args:
          images: [B, H, W, 3], normalized.
          train: passed to the encoder.

        Returns:
          [B, W / 4, V] float32.
        """
        x = list(self.encoder.features(images, train).values())[-1].swapaxes(1, 2)  # [B, w, h, C]
        x = nn.relu(Dense(self.hidden_size, dtype=self.dtype, name="column")(x.reshape(*x.shape[:2], -1)))
        return Dense(self.vocab_size, dtype=self.dtype, name="head")(x).astype(jnp.float32)


class AttendingReader(ShowAttendTell):
    """Show, attend and read: `ShowAttendTell` whose memory has the logits of CTC too. A further submodule `columns`."""

    def setup(self):
        """Build the layers."""
        super().setup()
        self.columns = Dense(self.vocab_size, dtype=self.dtype)

    def encode(self, images: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Encode images.

        Args:
          images: [B, H, W, 3].
          train: use the batch's statistics.

        Returns:
          The memory: {"grid": [B, h, w, image_features], "columns": [B, w, V] float32}.
        """
        memory = super().encode(images, train)
        x = memory["grid"].swapaxes(1, 2)  # [B, w, h, C]
        return memory | {"columns": self.columns(x.reshape(*x.shape[:2], -1)).astype(jnp.float32)}


def collapse(path: jax.Array, max_length: int) -> tuple[jax.Array, jax.Array]:
    """Collapse a path of CTC: keep one of each run of equal symbols, then leave the blanks out.

    Args:
      path: [B, T] int, a token a column; PAD is the blank.
      max_length: L, longest string, its END included; what does not fit is left out.

    Returns:
      (tokens [B, L] int32, c1 .. cn END PAD; lengths [B], n + 1).
    """
    check_shapes(path=(path, "int B T"))
    path = jnp.asarray(path)
    check_range("path", path, 0)
    check_whole_number("max_length", max_length, 1)
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
    check_shapes(tokens=(tokens, "int B L"), alignment=(alignment, "B L h w finite"))
    check_range("tokens", tokens, 0)
    check_range("alignment", alignment, 0)
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

    def init(rng: jax.Array, batch: dict) -> ModelState:
        return init_model_state(model, optimizer, rng, preprocess(batch["image"]))

    def objective(params: Any, state: ModelState, batch: dict, train: bool) -> tuple[jax.Array, tuple[Metrics, Any]]:
        images = preprocess(batch["image"])
        logits, model_state = apply_model(model, params, state.model_state, images, train=train)  # [B, W', V]
        losses, exact = _likelihood(logits, batch["captions"], max_length)  # [B], [B]
        mask = mask_of(batch)
        metrics = {"loss": Sum.of(losses, mask), "exact_match": Sum.of(exact, mask)}
        return masked_mean(losses, mask), (metrics, model_state)

    def loss(params: Any, state: ModelState, batch: dict) -> tuple[jax.Array, Metrics]:
        value, (metrics, _) = objective(params, state, batch, False)
        return value, metrics

    def update(state: ModelState, batch: dict) -> tuple[ModelState, Metrics]:
        # Gradient of the mean loss a string.
        gradients, (metrics, model_state) = jax.grad(objective, has_aux=True)(state.params, state, batch, True)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients, model_state=model_state), metrics

    def evaluate(state: ModelState, batch: dict) -> Metrics:
        return loss(state.params, state, batch)[1]

    def predict(state: ModelState, batch: dict) -> dict[str, jax.Array]:
        images = preprocess(batch["image"])
        logits, _ = apply_model(model, state.params, state.model_state, images, train=False)
        tokens, length = _read(logits, max_length)
        return {"tokens": tokens, "length": length}

    def classes(state: State, batch: dict) -> dict[str, int]:
        return {"captions": model.vocab_size}

    return Learner(init, update, evaluate, predict, loss, classes=classes)


@check_arguments
def attention_learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    preprocess: Callable[[jax.Array], jax.Array] = lambda image: image,
    max_length: Annotated[int, Range(2)] = 6,
    ctc_weight: Annotated[float, Range(0)] = 0.5,
) -> Learner:
    """Learn to read by attention, with CTC on the same features as a second loss.

    Args:
      model: a captioner whose memory has `columns: [B, W', V]`, logits a column, as AttendingReader.
      optimizer: any optax transformation.
      preprocess: batch of images to the model's input.
      max_length: characters of the longest string that is read, its END included.
      ctc_weight: w, weight of the CTC loss; 0 trains the attention alone.

    Returns:
      The learner: that of `captioning`, with `ctc_exact_match`, the share of strings that the CTC head reads without a
      mistake, among its metrics.
    """

    def auxiliary(memory: dict, batch: dict) -> tuple[jax.Array, Metrics]:
        losses, exact = _likelihood(memory["columns"], batch["captions"], max_length)
        mask = mask_of(batch)
        return ctc_weight * masked_mean(losses, mask), {"ctc_exact_match": Sum.of(exact, mask)}

    return captioning.learner(
        model=model, optimizer=optimizer, preprocess=preprocess, max_length=max_length, auxiliary=auxiliary
    )


@check_arguments
def reading_learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    preprocess: Callable[[jax.Array], jax.Array] = lambda image: image,
    max_length: Annotated[int, Range(2)] = 6,
    ctc_weight: Annotated[float, Range(0)] = 0.5,
) -> Learner:
    """Learn to read by the loss of the network: `attention_learner` of an AttendingReader, `learner` of another.

    Args:
      model: an AttendingReader, or a CTCReader.
      optimizer: any optax transformation.
      preprocess: batch of images to the model's input.
      max_length: characters of the longest string that is read, its END included.
      ctc_weight: attention: weight of a CTC loss on the same features

    Returns:
      The learner.
    """
    options = {"model": model, "optimizer": optimizer, "preprocess": preprocess, "max_length": max_length}
    if isinstance(model, AttendingReader):
        return attention_learner(**options, ctc_weight=ctc_weight)
    return learner(**options)


def _read(logits: jax.Array, max_length: int) -> tuple[jax.Array, jax.Array]:
    """Return the most probable path of logits [B, W', V], collapsed; START, END and UNKNOWN stand in no image."""
    path = logits.at[..., np.array([START, END, UNKNOWN])].set(-jnp.inf).argmax(-1)  # [B, W']
    return collapse(path, max_length)


def _likelihood(logits: jax.Array, captions: jax.Array, max_length: int) -> tuple[jax.Array, jax.Array]:
    """Return the CTC loss [B] of logits [B, W', V] for captions [B, 1, T], and whether the string is read [B]."""
    labels = captions[:, 0, 1:]  # [B, T - 1], the characters, END and PAD
    losses = ctc_loss(logits, labels, labels_length=(labels > END).sum(1), blank=PAD)
    return losses, is_reference(_read(logits, max_length)[0], captions)
