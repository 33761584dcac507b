"""Describe images: a model of a caption's words, given the image and the words before.

    p(w | image) = prod_t p(w_t | START, w_1 .. w_{t-1}, image),   w_{n+1} = END
    L = -1/N sum over all tokens of the batch of log p(w_t), the END of each caption included and padding left out

Vinyals et al. 2015, arXiv:1411.4555. Every image has several captions; a training step draws some of each image's, and
evaluation takes all. A model is a flax module with the methods below, of which `caption_rnn`, `show_attend_tell` and
`caption_transformer` are three; they are those of `dlcore.sequence.seq2seq`, with an image in place of a source:

    __call__(images, tokens, train=False) -> logits [B, T, V]     tokens START w_1 .. w_n; teacher forced, for all t
    encode(images, train=False) -> memory                         decode(memory, tokens, train=False) -> logits
    start(memory, length) -> carry                                step(carry, tokens [B]) -> (carry, logits [B, V])
    alignment(intermediates) -> [B, T, h w], or None              what `decode` has sown: the share of each position

Leaves of memories and carries have the batch as their leading axis. A model with a field `alignment_penalty`, lambda,
has lambda sum_i (1 - sum_t alpha_ti)^2 of each caption added to the sum over its tokens (arXiv:1502.03044), i over
positions and t over the tokens without padding.

While it writes, a model may not choose PAD, START or UNKNOWN. A row ends with its first END, and END stands in the last
place of a row that has none: no caption is longer than `max_length`. The image-blind model (`blind`) is the same
network with zeros for its memory: a language model, which any captioner must beat.
"""

import functools
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.data.words import END, PAD, START
from dlcore.learner import Learner, Metrics, ModelState, Range, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.metrics.language import token_metrics
from dlcore.nn.apply import apply_model
from dlcore.ops.replica import pmean, replica_key
from dlcore.optim import apply_gradients, init_model_state
from dlcore.sequence.decoding import Beam, check_beam, generate_sentences
from dlcore.vision_language.references import draw_references

__all__ = ["learner"]


def _encode(
    model: nn.Module, blind: bool, params: Any, model_state: Any, images: jax.Array, key: jax.Array | None = None
) -> tuple[Any, Any]:
    """(memory, model_state), in training where there is a key for dropout."""

    def encode(train: bool) -> tuple[Any, Any]:
        return apply_model(model, params, model_state, images, train=train, rng=key, method="encode")

    if not blind:
        return encode(key is not None)
    memory, _ = jax.eval_shape(lambda: encode(False))
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), memory), model_state


def _decode(
    model: nn.Module, variables: dict, memory: Any, inputs: jax.Array, key: jax.Array | None, sows: bool
) -> tuple[jax.Array, dict]:
    """(logits [B, T, V], what the decoder has sown), in training where there is a key for dropout."""
    mutable, rngs = ["intermediates"] if sows else [], {} if key is None else {"dropout": key}
    return model.apply(variables, memory, inputs, key is not None, mutable=mutable, rngs=rngs, method="decode")


def _attention_misses(alignment: jax.Array, mask: jax.Array) -> jax.Array:
    """sum_i (1 - sum_t alpha_ti)^2 of each caption [B n], of attention [B n, T, L] to locations."""
    looks = jnp.where(mask[..., None], alignment, 0).sum(1)  # [B n, L]
    return jnp.square(1 - looks).sum(-1)


def _token_losses(logits: jax.Array, targets: jax.Array, label_smoothing: float | jax.Array) -> tuple:
    """(losses, negative log-likelihoods), [B n, T] each."""
    nats = softmax_cross_entropy_loss(logits, targets)
    if not label_smoothing:
        return nats, nats
    # Without the one-hot targets, which are as large as the logits.
    smoothed = (1 - label_smoothing) * nats - label_smoothing * jax.nn.log_softmax(logits).mean(-1)
    return smoothed, nats


def _generate(
    model: nn.Module, variables: dict, memory: Any, batch_size: int, max_length: int, beam: Beam
) -> dict[str, jax.Array]:
    """What `predict` returns of encoded images."""
    step = functools.partial(model.apply, variables, method="step")
    carry = model.apply(variables, memory, max_length, method="start")
    tokens, length = generate_sentences(step, carry, batch_size, max_length, *beam)
    tokens = jnp.where(jnp.arange(max_length) == length[:, None] - 1, END, tokens)  # [B, max_length]
    # Read the generated tokens once more for their attention maps.
    inputs = jnp.concatenate([jnp.full_like(tokens[:, :1], START), tokens[:, :-1]], 1)
    _, collections = _decode(model, variables, memory, inputs, None, True)
    alignment = model.alignment(collections.get("intermediates", {}))
    outputs = {"tokens": tokens, "length": length}
    if alignment is None:
        return outputs
    return outputs | {"alignment": alignment.reshape(*alignment.shape[:2], *memory["grid"].shape[1:3])}


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    preprocess: Preprocess = lambda image: image,
    augment: Augmentation | None = None,
    captions_per_image: Annotated[int, Range(1)] = 1,
    label_smoothing: Annotated[float, Range(0, 1)] = 0.0,
    blind: bool = False,
    max_length: Annotated[int, Range(1)] = 24,
    beam: Beam = Beam(),
    auxiliary: Callable[[Any, dict], tuple[jax.Array, dict]] | None = None,
) -> Learner:
    """Learn to caption `{"image": [B, H, W, 3], "captions": [B, R, T] int32, "index": [B]}`.

    Args:
      model: model with the methods above.
      optimizer: any optax transformation.
      preprocess: batch of images to the model's input.
      augment: `(key, image) -> image`, applied to each preprocessed training image; None for none.
      captions_per_image: drawn of each image in a training step; they share the pass through the backbone.
      label_smoothing: weight of the uniform distribution in the target.
      blind: hide the image, which leaves a language model.
      max_length: tokens of the longest caption that is written, its END included.
      beam: how `predict` searches.
      auxiliary: `(memory, batch) -> (value, metrics)`, a second loss on the encoded images, added to L; None for none.

    Returns:
      The learner. A caption is START w1 .. wn END PAD, a missing one all PAD. `predict` reads `image` alone and gives
      `{"tokens": [B, max_length], "length": [B], "alignment": [B, max_length, h, w]}`, w1 .. wn END with PAD behind and
      n + 1; `alignment` only where the model attends.
    """
    check_beam(beam.beam_size, getattr(model, "vocab_size", None))
    penalty, encode = getattr(model, "alignment_penalty", 0.0), functools.partial(_encode, model, blind)

    def init(rng: jax.Array, batch: dict) -> ModelState:
        return init_model_state(model, optimizer, rng, preprocess(batch["image"]), batch["captions"][:, 0, :-1])

    def objective(params: Any, state: ModelState, images, captions, batch, key=None) -> tuple[jax.Array, Any]:
        """Return the loss of captions [B, n, T] of a batch's images [B, H, W, 3]; in training where there is a key."""
        count, (encoder_key, decoder_key) = captions.shape[1], _keys(key)
        variables = {"params": params, **state.model_state}
        # Encode each image once for all its captions.
        memory, model_state = encode(params, state.model_state, images, encoder_key)
        second, second_metrics = (0.0, {}) if auxiliary is None else auxiliary(memory, batch)
        memory = jax.tree.map(lambda x: jnp.repeat(x, count, 0), memory)
        # Teacher forcing: the caption, shifted by one.
        tokens = captions.reshape(-1, captions.shape[2])  # [B n, T]
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        logits, collections = _decode(model, variables, memory, inputs, decoder_key, bool(penalty))
        mask = (targets != PAD) & (jnp.repeat(mask_of(batch), count) > 0)[:, None]  # [B n, T - 1]
        losses, nats = _token_losses(logits, targets, label_smoothing)  # [B n, T - 1] each
        # Mean over the words of all replicas.
        total, number = jnp.where(mask, losses, 0).sum(), jnp.maximum(pmean(mask.sum().astype(losses.dtype)), 1)
        metrics = token_metrics(nats, logits, targets, mask) | second_metrics
        if penalty:
            # Doubly stochastic attention: every location is attended to once in all.
            misses = _attention_misses(model.alignment(collections["intermediates"]), mask)  # [B n]
            total = total + penalty * jnp.where(mask.any(1), misses, 0).sum()
            metrics["misses"] = Sum.of(misses, mask.any(1))
        return total / number + second, (metrics, model_state)

    def loss(params: Any, state: ModelState, batch: dict) -> tuple[jax.Array, Metrics]:
        value, (metrics, _) = objective(params, state, preprocess(batch["image"]), batch["captions"], batch)
        return value, metrics

    def update(state: ModelState, batch: dict) -> tuple[ModelState, Metrics]:
        rng, images = jax.random.fold_in(state.rng, state.step), preprocess(batch["image"])
        # Augment each image under a key of its own.
        if augment is not None:
            images = jax.vmap(augment)(example_keys(jax.random.fold_in(rng, 1), batch), images)
        # Draw references of each image.
        keys = example_keys(jax.random.fold_in(rng, 0), batch)
        captions = draw_references(keys, batch["captions"], captions_per_image)  # [B, n, T]
        # Gradient of the mean loss a word; replicas draw different dropout masks.
        gradient, dropout = jax.grad(objective, has_aux=True), replica_key(jax.random.fold_in(rng, 2))
        gradients, (metrics, model_state) = gradient(state.params, state, images, captions, batch, dropout)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients, model_state=model_state), metrics

    def predict(state: ModelState, batch: dict) -> dict[str, jax.Array]:
        memory, _ = encode(state.params, state.model_state, preprocess(batch["image"]))
        variables = {"params": state.params, **state.model_state}
        return _generate(model, variables, memory, batch["image"].shape[0], max_length, beam)

    def classes(state: ModelState, batch: dict) -> dict[str, int]:
        return {"captions": model.vocab_size} if hasattr(model, "vocab_size") else {}

    return Learner(init, update, lambda state, batch: loss(state.params, state, batch)[1], predict, loss, (), classes)


def _keys(key: jax.Array | None) -> tuple[jax.Array | None, jax.Array | None]:
    """Keys of the encoder and of the decoder."""
    return (None, None) if key is None else (jax.random.fold_in(key, 0), jax.random.fold_in(key, 1))
