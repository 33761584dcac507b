"""Video captioning: a sentence for the object that moves in a clip, and its direction.

Venugopalan et al. 2015, arXiv:1505.00487 (sequence to sequence, video to text):

    a_f = softmax over positions p of u CNN(frame_f)_p                     where something is, in several heads
    p_f = sum_p a_fp e^(2 pi i p), of rows and of columns;   v_f = W [sum_p a_fp CNN(frame_f)_p; p_f]
    z   = V [last state of GRU(relu(M [v_f; v_f+1; p_f+1 conj(p_f)]) for each f); mean of v_f]
    s_t = GRU(s_t-1, [w_t; z]),   s_0 = tanh(z),   p(w_t+1 | w_<=t) = softmax(H relu(U [s_t; z]))

The paper's encoder and decoder are one stack of LSTMs; here they are two GRUs, and the network of the frames learns
with them. The clip is read again with every word and before every choice: where it is only the first state, the decoder
learns the grammar first, its units saturate, and no gradient reaches the frames. A frame is what it shows and where, by
angles, since our clips wrap around; and the recurrent layer reads neighboring frames in pairs, with the angle between
them, as a motion is a difference of two.
"""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean
from dlcore.metrics.classification import class_predictions
from dlcore.nn import Dense
from dlcore.nn.embed import Embed
from dlcore.nn.recurrent import RecurrentStack
from dlcore.ops.precision import to_acc_dtype
from dlcore.optim import apply_gradients, init_state
from dlcore.sequence.decoding import generate_sentences
from dlcore.vision_language.networks import GridEncoder
from dlcore.vision_language.references import caption_losses, draw_references, is_reference

__all__ = ["ClipEncoder", "VideoCaptioner", "learner"]


class ClipEncoder(nn.Module):
    """A network for each frame and a GRU over the frames: [B, F, H, W, 3] -> [B, D].

    Args:
      channels: number of channels of the convolutional layers, multiples of 8.
      strides: strides of the convolutional layers.
      hidden_size: D, of a frame's features and of the GRU's state.
      num_heads: places that a frame is looked at.
      dtype: dtype of the computation; None takes the parameters'.
    """

    channels: tuple[int, ...] = (16, 32, 32)
    strides: tuple[int, ...] = (2, 2, 1)
    hidden_size: Annotated[int, Range(1)] = 96
    num_heads: Annotated[int, Range(1)] = 4
    dtype: Any = None

    @nn.compact
    def __call__(self, clip: jax.Array) -> jax.Array:
        """Encode clips.

        Args:
          clip: [B, F, H, W, 3], normalized.

        Returns:
          [B, D], of the state after the last pair of frames and the mean of the frames.
        """

        def dense(features: int, name: str) -> Dense:
            return Dense(features, dtype=self.dtype, name=name)

        b, frames = clip.shape[:2]
        grid = GridEncoder(self.channels, self.strides, self.dtype, name="frame")(clip.reshape(-1, *clip.shape[2:]))
        height, width = grid.shape[1:3]
        # Spatial attention of each frame: what is looked at, and where.
        weights = dense(self.num_heads, "where")(grid).reshape(grid.shape[0], height * width, -1)
        weights = jax.nn.softmax(weights, axis=1).reshape(b, frames, height, width, -1)
        grid = grid.reshape(b, frames, height, width, -1)
        what = jnp.einsum("bfyxh,bfyxc->bfhc", weights, grid).reshape(b, frames, -1)
        # Positions as phases: a motion between frames is a rotation.
        turn = [jnp.exp(2j * jnp.pi * jnp.arange(size) / size) for size in (height, width)]
        projection = jnp.concatenate(
            [weights.sum(3).swapaxes(2, 3) @ turn[0], weights.sum(2).swapaxes(2, 3) @ turn[1]], -1
        )
        frame = dense(self.hidden_size, "project")(jnp.concatenate([what, *_parts(projection, what)], -1))
        first, second = (slice(None, -1), slice(1, None)) if frames > 1 else (slice(None), slice(None))
        # Change of phase between neighboring frames.
        moved = projection[:, second] * projection[:, first].conj()
        pairs = jnp.concatenate([frame[:, first], frame[:, second], *_parts(moved, what)], -1)
        pairs = nn.relu(dense(self.hidden_size, "motion")(pairs))
        gru = RecurrentStack(self.hidden_size, 1, "gru", dtype=self.dtype, name="gru")
        # A GRU over pairs of frames.
        last = gru(gru.initial_carry(b), pairs)[1][:, -1]
        return dense(self.hidden_size, "together")(jnp.concatenate([last, frame.mean(1).astype(last.dtype)], -1))


def _parts(z: jax.Array, like: jax.Array) -> tuple[jax.Array, jax.Array]:
    return z.real.astype(like.dtype), z.imag.astype(like.dtype)


class VideoCaptioner(nn.Module):
    """An encoder of clips and a GRU that writes.

    Args:
      vocab_size: tokens of the sentences.
      channels: number of channels of the convolutional layers, multiples of 8.
      strides: strides of the convolutional layers.
      hidden_size: width of all states.
      embedding_dim: width of a word.
      dtype: dtype of the computation; None takes the parameters'.
    """

    vocab_size: int
    channels: tuple[int, ...] = (16, 32, 32)
    strides: tuple[int, ...] = (2, 2, 1)
    hidden_size: Annotated[int, Range(1)] = 96
    embedding_dim: Annotated[int, Range(1)] = 32
    dtype: Any = None

    def setup(self):
        """Build encoder, embedding, decoder, output layer and head, which starts at zero."""
        self.clip = ClipEncoder(self.channels, self.strides, self.hidden_size, dtype=self.dtype)
        self.embed = Embed(self.vocab_size, self.embedding_dim, dtype=self.dtype)
        self.decoder = RecurrentStack(self.hidden_size, 1, "gru", dtype=self.dtype)
        self.output = Dense(self.hidden_size, dtype=self.dtype)
        self.head = Dense(self.vocab_size, kernel_init=nn.initializers.zeros, dtype=self.dtype)

    def encode(self, clip: jax.Array) -> Any:
        """Read a clip.

        Args:
          clip: [B, F, H, W, 3], normalized.

        Returns:
          The decoder's carry before the first word.
        """
        clip_features = self.clip(clip)
        return clip_features, ((jnp.tanh(clip_features),),)

    def write(self, carry: Any, tokens: jax.Array) -> tuple[Any, jax.Array]:
        """Run the decoder over words from a carry.

        Args:
          carry: after the words before.
          tokens: [B, T] int.

        Returns:
          (carry after them, logits [B, T, V] of the word after each).
        """
        clip_features, state = carry
        words = self.embed(tokens)
        clip_per_token = jnp.broadcast_to(clip_features[:, None], (*tokens.shape, clip_features.shape[-1])).astype(
            words.dtype
        )
        state, h = self.decoder(state, jnp.concatenate([words, clip_per_token], -1))
        logits = self.head(nn.relu(self.output(jnp.concatenate([h, clip_per_token.astype(h.dtype)], -1))))
        return (clip_features, state), to_acc_dtype(logits)

    def __call__(self, clip: jax.Array, tokens: jax.Array) -> jax.Array:
        """Predict each next word of given sentences.

        Args:
          clip: [B, F, H, W, 3], normalized.
          tokens: [B, T] int, START w1 .. wn.

        Returns:
          Logits [B, T, V]; the first loss is log V.
        """
        return self.write(self.encode(clip), tokens)[1]


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    preprocess: Callable[[jax.Array], jax.Array] = lambda clip: clip,
    max_length: Annotated[int, Range(1)] = 12,
) -> Learner:
    """Train a model to caption `{"clip": [B, F, H, W, 3], "captions": [B, R, T] int32, "index": [B]}`.

    Args:
      model: `__call__(clip, tokens) -> logits`, and its methods `encode` and `write`; see `VideoCaptioner`.
      optimizer: any optax transformation.
      preprocess: clips to the model's input.
      max_length: words of a written sentence, its end included.

    Returns:
      The learner. Training draws one reference an example in each step; `evaluate` measures the loss over all of them
      and `exact_match`, the share of greedy sentences that equal a reference. `predict` returns `tokens`
      [B, max_length] and `length` [B], END included.
    """

    def init(rng: jax.Array, batch: dict) -> State:
        tokens = batch["captions"][:, 0, :-1]
        params = model.init(jax.random.fold_in(rng, 0), preprocess(batch["clip"]), tokens)["params"]
        return init_state(params, optimizer, rng)

    def measured(params, clip, captions, batch):
        """(mean loss a word, metrics) of one caption of each clip."""
        # Teacher forcing: predict each next word.
        logits = model.apply({"params": params}, clip, captions[:, :-1])  # [B, T - 1, V]
        losses, real = caption_losses(logits, captions)  # [B, T - 1] each
        real = (real & (mask_of(batch)[:, None] > 0)).reshape(-1)
        correct = class_predictions(logits) == captions[:, 1:]
        metrics = {"loss": Sum.of(losses.reshape(-1), real), "accuracy": Sum.of(correct.reshape(-1), real)}
        return masked_mean(losses.reshape(-1), real.astype(losses.dtype)), metrics

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        return measured(params, preprocess(batch["clip"]), batch["captions"][:, 0], batch)

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        keys = example_keys(jax.random.fold_in(state.rng, state.step), batch)
        # One reference of each clip.
        captions, clip = draw_references(keys, batch["captions"], 1)[:, 0], preprocess(batch["clip"])
        # Gradient of the mean loss a word.
        objective = jax.value_and_grad(lambda p: measured(p, clip, captions, batch), has_aux=True)
        (value, metrics), gradients = objective(state.params)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients, value=value), metrics

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        variables = {"params": state.params}

        def step(carry, tokens):
            carry, logits = model.apply(variables, carry, tokens[:, None], method="write")
            return carry, logits[:, -1]

        clip = preprocess(batch["clip"])
        carry = model.apply(variables, clip, method="encode")
        tokens, length = generate_sentences(step, carry, clip.shape[0], max_length)
        return {"tokens": tokens, "length": length}

    def evaluate(state: State, batch: dict) -> Metrics:
        captions, clip = batch["captions"], preprocess(batch["clip"])
        parts = [measured(state.params, clip, captions[:, r], batch)[1] for r in range(captions.shape[1])]
        metrics = {name: parts[0][name] for name in parts[0]}
        for part in parts[1:]:
            metrics = {name: metrics[name].merge(part[name]) for name in metrics}
        exact = is_reference(predict(state, batch)["tokens"], captions)
        return metrics | {"exact_match": Sum.of(exact, mask_of(batch))}

    def classes(state: State, batch: dict) -> dict[str, int]:
        return {"captions": model.vocab_size} if hasattr(model, "vocab_size") else {}

    return Learner(init, update, evaluate, predict, loss, classes=classes)
