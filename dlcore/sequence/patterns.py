"""One recurrent network for the five ways in which inputs and outputs can follow each other.

Karpathy, "The unreasonable effectiveness of recurrent neural networks" (2015), his first figure:

    one_to_one             x -> y                    no recurrence                        an image to its class
    one_to_many            x -> y1 .. yT             after x: zeros, or the own output    an image to a caption, music
    many_to_one            x1 .. xS -> y             y after the last step that counts    a sentence to its sentiment
    many_to_many           x1 .. xS -> y1 .. yS      step by step                         tracking, smoothing of depth
    many_to_many_delayed   x1 .. xS -> y1 .. yT      an encoder's state starts a decoder  translation

Rows may have different lengths: padding changes no output. The own output is fed back as it is, or as probabilities
where it is a class, in training as in use, and the gradient passes through it.
"""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, mask_of
from dlcore.losses import masked_mean, softmax_cross_entropy_loss
from dlcore.metrics import RootMeanSquare
from dlcore.metrics.classification import class_predictions
from dlcore.nn import Dense
from dlcore.nn.embed import Embed
from dlcore.nn.recurrent import RecurrentStack
from dlcore.ops.precision import acc_dtype_of
from dlcore.optim import apply_gradients, init_state

__all__ = ["PATTERNS", "PatternNet", "learner"]

Pattern = Literal["one_to_one", "one_to_many", "many_to_one", "many_to_many", "many_to_many_delayed"]
PATTERNS = ("one_to_one", "one_to_many", "many_to_one", "many_to_many", "many_to_many_delayed")


class PatternNet(nn.Module):
    """A recurrent network that reads and answers in any of the patterns.

    Args:
      num_outputs: K, classes or numbers of an answer.
      num_tokens: V, where inputs are tokens, which are embedded; 0 where they are vectors.
      categorical: the answers are classes, whose logits become probabilities before they are fed back.
      output_steps: T, answers of "one_to_many" and "many_to_many_delayed".
      hidden_size: H, of each recurrent layer, and of what inputs are mapped to.
      num_layers: recurrent layers.
      cell: cell of the recurrent layers.
      bidirectional: let the layers that read all steps before they answer, or answer step by step, read both ways.
      feedback: decoder input after the one input, or after the encoder has read.
      dtype: dtype of the computation; None takes the parameters'.
      learned_carry: learn the state before the first step; otherwise it is zero.
    """

    num_outputs: int
    num_tokens: int
    categorical: bool
    output_steps: int
    hidden_size: Annotated[int, Range(1)] = 64
    num_layers: Annotated[int, Range(1)] = 1
    cell: Literal["gru", "lstm", "rnn"] = "gru"
    bidirectional: bool = False
    feedback: Literal["own", "zeros"] = "own"
    learned_carry: bool = False
    dtype: Any = None

    def setup(self):
        """Build the layers; those that a pattern does not use get no parameters."""
        check_choice("cell", self.cell, ("gru", "lstm", "rnn"))
        check_choice("feedback", self.feedback, ("own", "zeros"))
        if self.num_tokens:
            self.embed = Embed(self.num_tokens, self.hidden_size, dtype=self.dtype)
        else:
            self.enter = Dense(self.hidden_size, dtype=self.dtype)
        self.feed = Dense(self.hidden_size, use_bias=False, dtype=self.dtype)
        options = {"num_layers": self.num_layers, "cell": self.cell, "dtype": self.dtype}
        options["learned_carry"] = self.learned_carry
        self.reader = RecurrentStack(self.hidden_size, bidirectional=self.bidirectional, **options)
        self.writer = RecurrentStack(self.hidden_size, **options)
        self.hidden = Dense(self.hidden_size, dtype=self.dtype)
        self.head = Dense(self.num_outputs, dtype=self.dtype)

    def __call__(self, x: jax.Array, lengths: jax.Array | None = None, *, pattern: str) -> jax.Array:
        """Answer.

        Args:
          x: [B, S] int tokens, or [B, S, D]; S is 1 where the pattern begins with "one".
          lengths: [B] int, steps that count in each row; None: all S.
          pattern: one of PATTERNS.

        Returns:
          [B, T, K] float32 at least; T is 1 for one answer, and S for "many_to_many".
        """
        check_choice("pattern", pattern, PATTERNS)
        if pattern.startswith("one") and x.shape[1] != 1:
            raise ValueError(f"x.shape={x.shape}: {x.shape[1]} steps; allowed: one step for {pattern}")
        if self.bidirectional and pattern not in ("many_to_one", "many_to_many"):
            raise ValueError(f"bidirectional=True: {pattern} writes forwards; allowed: many_to_one, many_to_many")
        x = self.embed(x.astype(jnp.int32)) if self.num_tokens else self.enter(x)
        if pattern == "one_to_one":
            return self._answer(jnp.tanh(self.hidden(x)))
        if pattern == "one_to_many":
            carry, h = self.writer(None, x)
            first = self._answer(h)
            return jnp.concatenate([first, self._write(carry, first[:, 0], self.output_steps - 1)], 1)
        carry, h = self.reader(None, x, lengths)
        if pattern == "many_to_many":
            return self._answer(h)
        if pattern == "many_to_one":
            last = [end[0] for end in carry[-1]] if self.bidirectional else [carry[-1][0]]
            return self._answer(jnp.concatenate(last, -1)[:, None])
        nothing = jnp.zeros((x.shape[0], self.num_outputs), h.dtype)
        return self._write(carry, nothing, self.output_steps, start=True)

    def _answer(self, h: jax.Array) -> jax.Array:
        return self.head(h).astype(acc_dtype_of(h.dtype))

    def _write(self, carry: Any, y: jax.Array, steps: int, start: bool = False) -> jax.Array:
        """Answers [B, steps, K] from a carry on; `start`: y [B, K] is no answer but the zeros before the first one."""
        if self.feedback == "zeros":
            return self._answer(self.writer(carry, jnp.zeros((y.shape[0], steps, self.hidden_size), y.dtype))[1])

        def step(self, state, _):
            carry, feedback_input = state
            carry, h = self.writer(carry, self.feed(feedback_input)[:, None])
            y = self._answer(h[:, 0])
            return (carry, jax.nn.softmax(y) if self.categorical else y), y

        # The next input is the last answer, or its probabilities.
        feedback_input = jax.nn.softmax(y) if self.categorical and not start else y
        loop = nn.scan(step, variable_broadcast="params", split_rngs={"params": False}, length=steps)
        return loop(self, (carry, feedback_input), None)[1].swapaxes(0, 1)


@check_arguments
def learner(*, model: nn.Module, optimizer: optax.GradientTransformation, pattern: Pattern = "many_to_one") -> Learner:
    """Train on `{"input": [B, S] or [B, S, D], "target": [B, T] int or [B, T, K], "index": [B]}`.

    Targets that are whole numbers are classes, learned by cross-entropy; others are numbers, learned by the squared
    error. `length: [B]`, where a batch has it, says how many steps of the input count.

    Args:
      model: `__call__(x, lengths, *, pattern) -> [B, T, K]`.
      optimizer: any optax transformation.
      pattern: how inputs and outputs follow each other.

    Returns:
      The learner. `evaluate` returns `accuracy` over steps and `exact` over sequences of classes, or `rmse` of numbers.
      `predict` returns `{"output": [B, T, K]}`, the logits or the numbers.
    """

    def outputs(params: Any, batch: dict) -> jax.Array:
        return model.apply({"params": params}, batch["input"], batch.get("length"), pattern=pattern)

    def init(rng: jax.Array, batch: dict) -> State:
        params = model.init(jax.random.fold_in(rng, 0), batch["input"], batch.get("length"), pattern=pattern)["params"]
        return init_state(params, optimizer, rng)

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        y, target = outputs(params, batch), batch["target"]
        categorical = jnp.issubdtype(target.dtype, jnp.integer)
        expected_shape = y.shape[:2] if categorical else y.shape
        if target.shape != expected_shape:
            raise ValueError(f"target.shape={target.shape}: does not fit the answers; allowed: {expected_shape}")
        # Steps beyond an example's length count for nothing.
        counts = jnp.broadcast_to(mask_of(batch)[:, None] > 0, y.shape[:2])  # [B, T]
        if pattern == "many_to_many" and "length" in batch:
            counts = counts & (jnp.arange(y.shape[1]) < batch["length"][:, None])
        flat = counts.reshape(-1)
        if not categorical:
            squares = jnp.square(y - target)
            losses = squares.mean(-1)  # [B, T]
            metrics = {"rmse": RootMeanSquare.of(squares.reshape(-1, squares.shape[-1]), flat)}
        else:
            losses = softmax_cross_entropy_loss(y, target.astype(jnp.int32))  # [B, T]
            correct = class_predictions(y) == target
            metrics = {
                "accuracy": Sum.of(correct.reshape(-1), flat),
                "exact": Sum.of((correct | ~counts).all(1), mask_of(batch)),
            }
        return masked_mean(losses, counts), {"loss": Sum.of(losses.reshape(-1), flat), **metrics}

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # Gradient of squared error or cross-entropy over the counted steps.
        gradients, metrics = jax.grad(loss, has_aux=True)(state.params, state, batch)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        return loss(state.params, state, batch)[1]

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        return {"output": outputs(state.params, batch)}

    return Learner(init, update, evaluate, predict, loss)
