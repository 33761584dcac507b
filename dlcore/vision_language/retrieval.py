"""Find the clip or the image that a sentence describes: both become vectors, and pairs lie close to each other.

Radford et al. 2021, arXiv:2103.00020 (CLIP); Rohrbach et al. 2017, arXiv:1605.03705 (retrieval of movies by text):

    s_ij = cos(f(clip_i), g(sentence_j)) / tau,   L = 1/2N sum_i -log softmax_j(s_ij)_i - log softmax_j(s_ji)_i

log 1/tau is learned from 1/0.07, with 1/tau at most 100. In a batch, two clips may have one sentence; the loss takes
them for different, as the paper's does.
"""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import clip_loss
from dlcore.metrics.classification import class_predictions
from dlcore.nn import Dense
from dlcore.ops import l2_normalize
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import all_gather
from dlcore.optim import apply_gradients, init_state
from dlcore.vision_language.networks import SentenceEncoder
from dlcore.vision_language.references import draw_references
from dlcore.vision_language.video_caption import ClipEncoder

__all__ = ["DualEncoder", "learner", "softmax_contrast"]

_LARGEST_SCALE = 100.0


class DualEncoder(nn.Module):
    """Two encoders into one space; an image is a clip of one frame.

    Args:
      vocab_size: tokens of the sentences.
      embedding_size: D, of the shared space.
      channels: number of channels of the convolutional layers, multiples of 8.
      strides: strides of the convolutional layers.
      hidden_size: width of the encoders' states.
      word_size: width of a word's vector.
      dtype: dtype of the computation; None takes the parameters'.
    """

    vocab_size: int
    embedding_size: Annotated[int, Range(1)] = 64
    channels: tuple[int, ...] = (16, 32, 32)
    strides: tuple[int, ...] = (2, 2, 2)
    hidden_size: Annotated[int, Range(1)] = 96
    word_size: Annotated[int, Range(1)] = 32
    dtype: Any = None

    @nn.compact
    def __call__(self, clip: jax.Array, tokens: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Encode clips and sentences.

        Args:
          clip: [B, F, H, W, 3] or [B, H, W, 3], normalized.
          tokens: [B, T] int, padded with PAD.

        Returns:
          (clips [B, D], sentences [B, D], both of length 1, and 1/tau).
        """
        clip = clip if clip.ndim == 5 else clip[:, None]
        clip_features = ClipEncoder(self.channels, self.strides, self.hidden_size, dtype=self.dtype, name="clip")(clip)
        read = SentenceEncoder(self.vocab_size, self.hidden_size, self.word_size, self.dtype, name="sentence")(tokens)
        scale = self.param("log_scale", nn.initializers.constant(jnp.log(1 / 0.07)), ())

        def embedded(x, name):
            x = Dense(self.embedding_size, use_bias=False, dtype=self.dtype, name=name)(x)
            x = to_acc_dtype(x)
            # Unit vectors, for cosines.
            return l2_normalize(x)

        return (
            embedded(clip_features, "clip_head"),
            embedded(read, "sentence_head"),
            jnp.minimum(jnp.exp(scale), _LARGEST_SCALE),
        )


def softmax_contrast(
    params: Any, clips: jax.Array, sentences: jax.Array, scale: jax.Array, mask: jax.Array
) -> jax.Array:
    """Contrast the pairs of a batch by CLIP's loss.

    Args:
      params: not used.
      clips: [B, D].
      sentences: [B, D].
      scale: 1/tau.
      mask: [B].

    Returns:
      The loss [].
    """
    check_shapes(scale=(scale, "> 0"))
    return clip_loss(clips, sentences, 1 / scale, mask)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    preprocess: Callable[[jax.Array], jax.Array] = lambda clip: clip,
    augment: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    contrast: Callable[..., jax.Array] = softmax_contrast,
) -> Learner:
    """Train two encoders of `{"clip" or "image": [B, ...], "captions": [B, R, T] int32, "index": [B]}`.

    Args:
      model: `__call__(clip, tokens) -> (clips [B, D], sentences [B, D], 1/tau)`.
      optimizer: any optax transformation.
      preprocess: clips or images to the model's input.
      augment: `(key, image or clip) -> the same`, applied to each preprocessed training example; None for none.
      contrast: (parameters, clips [B, D], sentences [B, D], 1/tau, mask [B]) -> the loss.

    Returns:
      The learner. Training draws one reference an example in each step. `evaluate` contrasts the first reference with
      those of the same batch, so its loss depends on the batch's size; `predict` returns the embeddings `clip` and
      `sentence` [B, D], the latter of the first reference.
    """

    def view(batch):
        return preprocess(batch["clip"] if "clip" in batch else batch["image"])

    def objective(params, batch, clip, captions):
        # Embed clips and sentences.
        clips, sentences, scale = model.apply({"params": params}, clip, captions)  # [B, D], [B, D], []
        mask = mask_of(batch)
        # Negatives come from all replicas.
        clips, sentences, mask = all_gather((clips, sentences, mask))
        # Symmetric contrastive loss.
        value = contrast(params, clips, sentences, scale, mask)
        scores = jnp.where(mask > 0, sentences @ clips.T, -jnp.inf)  # [N, N]
        correct = class_predictions(scores) == jnp.arange(len(scores))
        count = mask.sum().astype(jnp.int32)
        metrics = {"loss": Sum(value * count, count), "accuracy": Sum.of(correct, mask)}
        return value, metrics

    def init(rng: jax.Array, batch: dict) -> State:
        params = model.init(jax.random.fold_in(rng, 0), view(batch), batch["captions"][:, 0])["params"]
        return init_state(params, optimizer, rng)

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        return objective(params, batch, view(batch), batch["captions"][:, 0])

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        keys = example_keys(jax.random.fold_in(state.rng, state.step), batch)
        # One reference of each example.
        captions, clip = draw_references(keys, batch["captions"], 1)[:, 0], view(batch)
        # Augment each example under a key of its own.
        if augment is not None:
            clip = jax.vmap(lambda key, x: augment(jax.random.fold_in(key, 1), x))(keys, clip)
        # Gradient of the contrastive loss by both encoders and the temperature.
        differentiate = jax.value_and_grad(lambda params: objective(params, batch, clip, captions), has_aux=True)
        (value, metrics), gradients = differentiate(state.params)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients, value=value), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        return loss(state.params, state, batch)[1]

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        clips, sentences, _ = model.apply({"params": state.params}, view(batch), batch["captions"][:, 0])
        return {"clip": clips, "sentence": sentences}

    def classes(state: State, batch: dict) -> dict[str, int]:
        return {"captions": model.vocab_size} if hasattr(model, "vocab_size") else {}

    return Learner(init, update, evaluate, predict, loss, classes=classes)
