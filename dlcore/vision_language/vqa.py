"""Answer questions about images by relations between pairs of positions.

Santoro et al. 2017, arXiv:1706.01427 (relation networks):

    q   = the last state of a GRU over the question
    o_i = relu((1 + scale(q)) W (features of a grid's position i, its coordinates) + shift(q))
    a   = f( sum_ij w_ij g(o_i, o_j, q),  1/N^2 sum_ij g(o_i, o_j, q),  q ),   w = softmax over all pairs of v g(...)

The paper has o_i without the question and only the sum of all pairs. Where neither image nor question alone tells
anything of the answer, that network stays at chance for long; the modulation (Perez et al. 2017, arXiv:1709.07871,
FiLM) and the weights shorten this, and the weights are what the report draws: a position's is that of its pairs. The
first layer of g is computed once a position, not once a pair (`PairLayer`).

Blind models are the honest baseline: the same network that is trained without the image, or without the question.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.words import PAD
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, mask_of
from dlcore.losses import masked_mean
from dlcore.optim import apply_gradients
from dlcore.vision_language.networks import GridEncoder, PairLayer, SentenceEncoder, with_coordinates

__all__ = ["RelationNetwork", "learner"]


class RelationNetwork(nn.Module):
    """A relation network over the grid of a small convolutional network.

    Args:
      vocab_size: tokens of the questions.
      num_answers: that can be given.
      channels: of the convolutional layers, multiples of 8.
      strides: of the convolutional layers.
      hidden_size: of the question's state and of the layers of g and f.
      embedding_dim: of a word.
      relation_layers: layers of g.
      dtype: of computation; None takes the parameters'.
    """

    vocab_size: int
    num_answers: int
    channels: tuple[int, ...] = (32, 64, 64, 64)
    strides: tuple[int, ...] = (2, 2, 1, 2)
    hidden_size: Annotated[int, Range(1)] = 128
    embedding_dim: Annotated[int, Range(1)] = 32
    relation_layers: Annotated[int, Range(1)] = 2
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, question: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Answer.

        Args:
          image: [B, H, W, 3], normalized.
          question: [B, Q] int32, padded with PAD.

        Returns:
          (logits [B, num_answers], weights of the grid's positions [B, h, w], which add up to 1); the first loss is
          log num_answers.
        """

        def dense(features, name, **kwargs):
            return nn.Dense(features, dtype=self.dtype, name=name, **kwargs)

        grid = GridEncoder(self.channels, self.strides, self.dtype, name="image")(image)
        read = SentenceEncoder(self.vocab_size, self.hidden_size, self.embedding_dim, self.dtype, name="question")
        asked = read(question)
        scale, shift = jnp.split(dense(2 * self.hidden_size, "film")(asked)[:, None], 2, -1)
        objects = nn.relu((1 + scale) * dense(self.hidden_size, "object")(with_coordinates(grid)) + shift)
        pairs = nn.relu(PairLayer(self.hidden_size, self.dtype, name="pairs")(objects, asked))
        for i in range(1, self.relation_layers):
            pairs = nn.relu(dense(self.hidden_size, f"relation{i}")(pairs))
        score = dense(1, "weight")(pairs).astype(jnp.float32)
        weight = nn.softmax(score.reshape(len(image), -1)).reshape(score.shape)
        found, mean = (weight.astype(pairs.dtype) * pairs).sum((1, 2)), pairs.mean((1, 2))
        x = nn.relu(dense(self.hidden_size, "answer0")(jnp.concatenate([found, mean, asked], -1)))
        logits = dense(self.num_answers, "head", kernel_init=nn.initializers.zeros)(x)
        seen = (weight + weight.swapaxes(1, 2)).sum(2).reshape(grid.shape[:3]) / 2
        return logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), seen


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    preprocess: Callable[[jax.Array], jax.Array] = lambda image: image,
    kinds: Any = (),
    blind: Literal["none", "image", "question"] = "none",
) -> Learner:
    """Train a model to answer `{"image": [B, H, W, 3], "question": [B, Q], "answer": [B] int32, "index": [B]}`.

    Args:
      model: `__call__(image, question) -> (logits [B, A], weights [B, h, w])`.
      optimizer: any optax transformation.
      preprocess: images to the model's input.
      kinds: names of the questions' kinds; where the batch has `kind: [B]`, the accuracy of each is measured.
      blind: what the model does not see, in training and use.

    Returns:
      The learner. `predict` gives `logits` and `probabilities` [B, A] and `attention` [B, h, w].
    """

    def seen(batch):
        image, question = preprocess(batch["image"]), batch["question"]
        if blind == "image":
            image = jnp.zeros_like(image)
        return image, jnp.full_like(question, PAD) if blind == "question" else question

    def init(rng: jax.Array, batch: dict) -> State:
        params = model.init(jax.random.fold_in(rng, 0), *seen(batch))["params"]
        return State(jnp.zeros((), jnp.int32), jax.random.fold_in(rng, 1), params, optimizer.init(params))

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        logits, _ = model.apply({"params": params}, *seen(batch))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["answer"])
        mask = mask_of(batch)
        correct = logits.argmax(-1) == batch["answer"]
        metrics = {"loss": Sum.of(losses, mask), "accuracy": Sum.of(correct, mask)}
        if "kind" in batch:
            metrics |= {
                f"accuracy/{name}": Sum.of(correct, mask * (batch["kind"] == k)) for k, name in enumerate(kinds)
            }
        return masked_mean(losses, mask), metrics

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        (value, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(state.params, state, batch)
        return apply_gradients(state, optimizer, gradients, value=value), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        return loss(state.params, state, batch)[1]

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        logits, attention = model.apply({"params": state.params}, *seen(batch))
        return {"logits": logits, "probabilities": jax.nn.softmax(logits), "attention": attention}

    def classes(state: State, batch: dict) -> dict[str, int]:
        return {"answer": jax.eval_shape(predict, state, batch)["logits"].shape[-1]}

    return Learner(init, update, evaluate, predict, loss, classes=classes)
