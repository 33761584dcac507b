"""Answer questions about images by relations between pairs of positions.

Santoro et al. 2017, arXiv:1706.01427 (relation networks):

    q    = the last state of a GRU over the question
    o_i  = relu(W (features of a grid's position i, its coordinates))
    a_i  = softmax_i of Q q . K o_i                                  the position that the question names
    b_ij = softmax_j of v . g(o_i, o_j, q)                           the position that it asks for besides that one
    answer = f( sum_i a_i V o_i,  sum_ij a_i b_ij V o_j,  sum_i sigmoid(Q q . K o_i),  q )

g and f are multilayer perceptrons, and Q, K, V, a and b come in several heads. The paper sums g over all pairs with
equal weight. Where neither image nor question alone tells anything of the answer, that sum stays at chance for long;
the weights find the pair, and are what the report draws. The third part counts. The first layer of g is computed once a
position, not once a pair (`PairLayer`), and q modulates the last but one layer of f (Perez et al. 2017,
arXiv:1709.07871).

Blind models are the honest baseline: the same network that is trained without the image, or without the question.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.words import PAD
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean, softmax_cross_entropy_loss
from dlcore.metrics.classification import class_predictions
from dlcore.nn import Dense
from dlcore.ops.precision import to_acc_dtype
from dlcore.optim import apply_gradients, init_state
from dlcore.vision_language.networks import GridEncoder, PairLayer, SentenceEncoder, append_coordinates

__all__ = ["RelationNetwork", "learner"]


class RelationNetwork(nn.Module):
    """A relation network over the grid of a small convolutional network.

    Args:
      vocab_size: tokens of the questions.
      num_answers: number of answers that can be given.
      channels: number of channels of the convolutional layers, multiples of 8.
      strides: strides of the convolutional layers.
      hidden_size: width of the question's state and of all layers, a multiple of the heads.
      embedding_dim: width of a word.
      num_heads: number of heads of the weights.
      dtype: dtype of the computation; None takes the parameters'.
    """

    vocab_size: int
    num_answers: int
    channels: tuple[int, ...] = (16, 32, 48)
    strides: tuple[int, ...] = (2, 2, 3)
    hidden_size: Annotated[int, Range(1)] = 64
    embedding_dim: Annotated[int, Range(1)] = 32
    num_heads: Annotated[int, Range(1)] = 4
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, question: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Answer.

        Args:
          image: [B, H, W, 3], normalized.
          question: [B, Q] int32, padded with PAD.

        Returns:
          (logits [B, num_answers], weights [B, 2, h, w] of the named positions and of those asked for besides, the mean
          over heads, each map of sum 1).
        """
        size, heads = self.hidden_size, self.num_heads
        if size % heads:
            raise ValueError(f"hidden_size={size}: no multiple of num_heads={heads}; allowed: multiples of it")

        def dense(features, name, **kwargs):
            return Dense(features, dtype=self.dtype, name=name, **kwargs)

        def by_head(x):
            return x.reshape(*x.shape[:-1], heads, -1)

        # Image grid and question vector.
        grid = GridEncoder(self.channels, self.strides, self.dtype, name="image")(image)
        read = SentenceEncoder(self.vocab_size, size, self.embedding_dim, self.dtype, name="question")
        question_vector, objects = read(question), nn.relu(dense(size, "object")(append_coordinates(grid)))
        query, key = by_head(dense(size, "query")(question_vector)), by_head(dense(size, "key")(objects))
        value = by_head(dense(size, "value")(objects))
        # Attention of the question to objects: those it names.
        match = jnp.einsum("bhd,bnhd->bhn", query, key).astype(jnp.float32) / (size // heads) ** 0.5  # [B, heads, N]
        named = nn.softmax(match)
        # Relations between pairs of objects lead from named to asked ones.
        pairs = nn.relu(PairLayer(size, self.dtype, name="pairs")(objects, question_vector))
        related = nn.softmax(dense(heads, "relation")(pairs).astype(jnp.float32), axis=2)
        partner_attention = jnp.einsum("bhi,bijh->bhj", named, related)  # [B, heads, N]
        weights = jnp.stack([named, partner_attention], 1)
        attended = jnp.einsum("bkhn,bnhd->bkhd", weights.astype(value.dtype), value).reshape(image.shape[0], -1)
        # Soft count of the matching objects.
        count = nn.sigmoid(match).sum(-1).astype(attended.dtype)
        # FiLM: the question scales and shifts the features.
        scale, shift = jnp.split(dense(4 * size, "film")(question_vector), 2, -1)
        x = nn.relu((1 + scale) * dense(2 * size, "answer")(jnp.concatenate([attended, count], -1)) + shift)
        logits = dense(self.num_answers, "head")(x)
        maps = weights.mean(2).reshape(image.shape[0], 2, *grid.shape[1:3])
        return to_acc_dtype(logits), maps


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    preprocess: Callable[[jax.Array], jax.Array] = lambda image: image,
    augment: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    kinds: Any = (),
    blind: Literal["none", "image", "question"] = "none",
) -> Learner:
    """Train a model to answer `{"image": [B, H, W, 3], "question": [B, Q], "answer": [B] int32, "index": [B]}`.

    Args:
      model: `__call__(image, question) -> (logits [B, A], weights [B, 2, h, w])`; see `RelationNetwork`.
      optimizer: any optax transformation.
      preprocess: images to the model's input.
      augment: `(key, image [H, W, 3]) -> image`, of training images, before `preprocess`; it must not change an answer.
      kinds: names of the questions' kinds; where the batch has `kind: [B]`, the accuracy of each is measured.
      blind: input that the model does not get, in training and at test time.

    Returns:
      The learner. `predict` returns `logits` and `probabilities` [B, A] and `attention` [B, 2, h, w].
    """

    def model_inputs(batch):
        image, question = preprocess(batch["image"]), batch["question"]
        if blind == "image":
            image = jnp.zeros_like(image)
        return image, jnp.full_like(question, PAD) if blind == "question" else question

    def init(rng: jax.Array, batch: dict) -> State:
        params = model.init(jax.random.fold_in(rng, 0), *model_inputs(batch))["params"]
        return init_state(params, optimizer, rng)

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        logits, _ = model.apply({"params": params}, *model_inputs(batch))  # [B, A]
        losses = softmax_cross_entropy_loss(logits, batch["answer"])  # [B]
        mask = mask_of(batch)
        correct = class_predictions(logits) == batch["answer"]
        metrics = {"loss": Sum.of(losses, mask), "accuracy": Sum.of(correct, mask)}
        if "kind" in batch:
            metrics |= {
                f"accuracy/{name}": Sum.of(correct, mask * (batch["kind"] == k)) for k, name in enumerate(kinds)
            }
        return masked_mean(losses, mask), metrics

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # Augment the images.
        if augment is not None:
            keys = example_keys(jax.random.fold_in(state.rng, state.step), batch)
            batch = {**batch, "image": jax.vmap(augment)(keys, batch["image"])}
        # Gradient of the answers' cross-entropy.
        (value, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(state.params, state, batch)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients, value=value), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        return loss(state.params, state, batch)[1]

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        logits, attention = model.apply({"params": state.params}, *model_inputs(batch))
        return {"logits": logits, "probabilities": jax.nn.softmax(logits), "attention": attention}

    def classes(state: State, batch: dict) -> dict[str, int]:
        return {"answer": jax.eval_shape(predict, state, batch)["logits"].shape[-1]}

    return Learner(init, update, evaluate, predict, loss, classes=classes)
