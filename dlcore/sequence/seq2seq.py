"""Sequence to sequence: read one sequence, then write another, token by token.

Sutskever, Vinyals & Le 2014, arXiv:1409.3215; with attention Bahdanau, Cho & Bengio 2014, arXiv:1409.0473.

    memory = encode(x_1 .. x_S END)
    p(y | x) = prod_t p(y_t | START, y_1 .. y_{t-1}, memory)
    L = -1/N sum over all tokens of the batch of log p(y_t), the END of each target included and padding left out

A model is a flax module with these methods, of which the recurrent and the transformer's encoder-decoder are two:

    __call__(source, tokens, train=False) -> logits [B, T, V]     tokens START y_1 .. y_{T-1}; teacher forced, for all t
    encode(source, train=False) -> memory                         decode(memory, tokens, train=False) -> logits
    start(memory, length) -> carry                                step(carry, tokens [B]) -> (carry, logits [B, V])
    alignment(intermediates) -> [B, T, S], or None                what `decode` has sown: the share of each source token

All leaves of memories and carries have the batch as their leading axis. While it writes, a model may not choose PAD,
START or UNKNOWN.

Teacher forcing feeds the right token of t - 1 at t. Below a share of 1, some inputs are what the model itself holds for
most probable there: one pass with the right tokens gives its choices at all positions at once, and a second pass, whose
gradient is taken, sees the mixture (Bengio et al. 2015, arXiv:1506.03099; in parallel, Duckworth et al. 2019,
arXiv:1906.04331). That equals step-by-step sampling for the first replaced token, and approximates it behind.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.data.words import PAD, START
from dlcore.learner import Evaluator, Learner, Metrics, Range, State, check_arguments, mask_of
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.metrics.language import token_metrics
from dlcore.ops.checks import check_shapes
from dlcore.ops.replica import pmean, replica_key
from dlcore.optim import apply_gradients, init_state
from dlcore.sequence.decoding import Beam, check_beam, forbid_special, generate_sentences

__all__ = ["exact_match", "learner", "matches"]


def _forward(model: nn.Module, params: Any, source: jax.Array, inputs: jax.Array, key: jax.Array | None) -> jax.Array:
    """Logits [B, T, V]; in training where there is a key for dropout."""
    rngs = None if key is None else {"dropout": key}
    return model.apply({"params": params}, source, inputs, train=key is not None, rngs=rngs)


def _scheduled_inputs(
    model: nn.Module, teacher_forcing: float | jax.Array, params: Any, source: jax.Array, inputs: jax.Array, key: Any
) -> jax.Array:
    """Inputs [B, T], some of which are the model's own choices."""
    # Scheduled sampling: the model's own tokens, no gradient.
    logits = forbid_special(_forward(model, params, source, inputs, jax.random.fold_in(key, 0)))  # [B, T, V]
    predicted_tokens = jax.lax.stop_gradient(logits).argmax(-1).astype(inputs.dtype)
    predicted_tokens = jnp.concatenate([inputs[:, :1], predicted_tokens[:, :-1]], 1)
    use_target = jax.random.bernoulli(jax.random.fold_in(key, 1), teacher_forcing, inputs.shape)  # [B, T]
    return jnp.where(use_target | (inputs == PAD), inputs, predicted_tokens)


def _token_losses(
    model: nn.Module,
    label_smoothing: float | jax.Array,
    teacher_forcing: float | jax.Array,
    params: Any,
    batch: dict,
    rng: jax.Array | None,
) -> tuple[jax.Array, jax.Array, Metrics]:
    """Return the sum of the losses of a batch's tokens, their number, and the metrics."""
    # Teacher forcing: the target, shifted by one.
    inputs, targets = batch["target"][:, :-1], batch["target"][:, 1:]  # [B, T] each
    if rng is not None and teacher_forcing < 1:
        inputs = _scheduled_inputs(model, teacher_forcing, params, batch["source"], inputs, rng)
    logits = _forward(model, params, batch["source"], inputs, None if rng is None else jax.random.fold_in(rng, 2))
    mask = (targets != PAD) & (mask_of(batch) > 0)[:, None]  # [B, T]
    nats = softmax_cross_entropy_loss(logits, targets)  # [B, T]
    losses = nats
    if label_smoothing:  # without the one-hot targets, which are as large as the logits
        losses = (1 - label_smoothing) * nats - label_smoothing * jax.nn.log_softmax(logits).mean(-1)
    return jnp.where(mask, losses, 0).sum(), mask.sum(), token_metrics(nats, logits, targets, mask)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    label_smoothing: Annotated[float, Range(0, 1)] = 0.0,
    teacher_forcing: Annotated[float, Range(0, 1)] = 1.0,
    max_length: Annotated[int | None, Range(1)] = None,
    beam: Beam = Beam(),
) -> Learner:
    """Learn to write the target of `{"source": [B, S], "target": [B, T], "index": [B]}`, both int32.

    A batch to train on may be a dict of several such batches, of short and of long pairs, so that little is padding;
    their tokens count alike.

    Args:
      model: model with the methods above.
      optimizer: any optax transformation.
      label_smoothing: weight of the uniform distribution in the target.
      teacher_forcing: share of the decoder's inputs that are the right token; the rest are the model's own choice.
      max_length: tokens of the longest output, its END included; None means 3/2 of the source's S.
      beam: how `predict` searches.

    Returns:
      The learner. `source` is w1 .. wn END PAD and `target` START w1 .. wn END PAD. `predict` reads `source` alone and
      gives `{"tokens": [B, max_length], "length": [B], "alignment": [B, max_length, S]}`: tokens up to END and PAD
      behind, and `alignment` only where the model attends.
    """
    check_beam(beam.beam_size, getattr(model, "vocab_size", None))
    losses_of = functools.partial(_token_losses, model, label_smoothing, teacher_forcing)

    def init(rng: jax.Array, batch: dict) -> State:
        first = _parts(batch)[0]
        params = model.init(jax.random.fold_in(rng, 0), first["source"], first["target"][:, :-1])["params"]
        return init_state(params, optimizer, rng)

    def objective(params: Any, batch: dict, rng: jax.Array | None = None) -> tuple[jax.Array, Metrics]:
        keys = [None if rng is None else jax.random.fold_in(rng, i) for i in range(len(_parts(batch)))]
        parts = [losses_of(params, part, key) for part, key in zip(_parts(batch), keys, strict=True)]
        losses, counts, metrics = zip(*parts, strict=True)
        count = pmean(sum(counts).astype(losses[0].dtype))
        merged = {name: functools.reduce(lambda a, b: a.merge(b), (m[name] for m in metrics)) for name in metrics[0]}
        return sum(losses) / jnp.maximum(count, 1), merged

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        return objective(params, batch)

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # Replicas draw different dropout masks and samples.
        rng = replica_key(jax.random.fold_in(state.rng, state.step))
        # Gradient of the mean loss a token, over the tokens of all replicas.
        gradients, metrics = jax.grad(objective, has_aux=True)(state.params, batch, rng)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        return objective(state.params, batch)[1]

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        variables, capacity = {"params": state.params}, max_length or 3 * batch["source"].shape[1] // 2
        memory = model.apply(variables, batch["source"], method="encode")
        step = functools.partial(model.apply, variables, method="step")
        carry = model.apply(variables, memory, capacity, method="start")
        tokens, length = generate_sentences(step, carry, batch["source"].shape[0], capacity, *beam)
        inputs = jnp.concatenate([jnp.full_like(tokens[:, :1], START), tokens[:, :-1]], 1)
        _, collections = model.apply(variables, memory, inputs, method="decode", mutable=["intermediates"])
        alignment = model.alignment(collections.get("intermediates", {}))
        return {"tokens": tokens, "length": length} | ({} if alignment is None else {"alignment": alignment})

    def classes(state: State, batch: dict) -> dict[str, int]:
        size = getattr(model, "vocab_size", None)
        return {} if size is None else {"source": getattr(model, "source_vocab_size", None) or size, "target": size}

    return Learner(init, update, evaluate, predict, loss, classes=classes)


def _parts(batch: dict) -> list[dict]:
    """Return the batches of one length each that a batch to train on is made of."""
    return [batch] if "source" in batch else [batch[name] for name in sorted(batch)]


def exact_match(source: Any = None) -> Evaluator:
    """Count the outputs that equal their target from the first token to END.

    Args:
      source: source to measure; None measures the split.

    Returns:
      The evaluator of `exact_match`, a share.
    """

    def add(acc: Any, outputs: dict, rows: dict) -> tuple[int, int]:
        hits = matches(outputs["tokens"], rows["target"])
        num_correct, count = acc or (0, 0)
        return num_correct + int(hits.sum()), count + len(hits)

    return Evaluator(add, lambda acc: {"exact_match": acc[0] / acc[1]}, source, ("exact_match",))


def matches(tokens: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return whether each output equals its target.

    Args:
      tokens: [N, L] int, w1 .. wn END PAD, as `predict` returns them.
      target: [N, T] int, START w1 .. wn END PAD.

    Returns:
      [N] bool.
    """
    check_shapes(tokens=(tokens, "N L"), target=(target, "N T"))
    tokens, target = np.asarray(tokens), np.asarray(target)[:, 1:]
    width = max(tokens.shape[1], target.shape[1])
    tokens, target = (np.pad(x, ((0, 0), (0, width - x.shape[1])), constant_values=PAD) for x in (tokens, target))
    return (tokens == target).all(1)
