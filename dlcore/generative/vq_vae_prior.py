"""The prior of a VQ-VAE: an autoregressive network learns the codes of a frozen autoencoder, and samples new images.

van den Oord, Vinyals & Kavukcuoglu 2017, arXiv:1711.00937, section 3.3: the second phase alone.

    k = argmin_j |E(x) - e_j|^2                               encoder E and codebook e are frozen
    L = -1 / (h w) [log p(k_1) + log p(k_2 | k_1) + ...]      nats per code
    k ~ p,   x = D(e_k)                                       a sample

`dlcore.generative.vq_vae` is the first phase. Several priors of one autoencoder compare. Uniform codes take log2 K bits
each, and codes drawn by their frequencies alone `histogram_bits`: the prior saves more bits by its context of previous
codes.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct

from dlcore.generative.autoregressive import sample
from dlcore.generative.pixels import normalize
from dlcore.generative.vq_vae import (
    CodebookPerplexity,
    codebook_from,
    codebook_usage,
    decode_vectors,
    prior_loss,
    quantize,
)
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, example_keys, mask_of
from dlcore.metrics import psnr
from dlcore.ops.checks import check_shapes
from dlcore.ops.replica import replica_key
from dlcore.optim import apply_gradients

__all__ = ["CodePrior", "HistogramBits", "VQVAEPriorState", "code_learner", "learner"]


@struct.dataclass
class VQVAEPriorState(State):
    """State of the prior (`params`) and its frozen autoencoder.

    Args:
      frozen: {"autoencoder": parameters, "codebook": [K, D]}, which are frozen.
    """

    frozen: Any


class HistogramBits(CodebookPerplexity):
    """Bits of a code that is sampled by its frequency alone: the entropy of the codes, log2 of their perplexity."""

    def compute(self) -> float | None:
        """Compute the entropy: from 0 to log2 K; None without counts."""
        perplexity = super().compute()
        return None if perplexity is None else float(np.log2(perplexity))


class CodePrior(NamedTuple):
    """A model of the codes of images: how it starts, what it minimizes, what measures it, and how it is sampled.

    Args:
      init: key -> parameters.
      loss: (parameters, codes [B, h, w], mask [B], keys [B], key of dropout or None) -> (mean loss, metrics).
      measure: (parameters, codes [B, h, w], mask [B], keys [B]) -> metrics of evaluation.
      sample: (parameters, keys [B]) -> codes [B, h, w].
    """

    init: Callable[[jax.Array], Any]
    loss: Callable[..., tuple[jax.Array, Metrics]]
    measure: Callable[..., Metrics]
    sample: Callable[[Any, jax.Array], jax.Array]


def code_learner(
    model: nn.Module, prior: CodePrior, optimizer: optax.GradientTransformation, num_codes: int
) -> Learner:
    """Train a model of the codes of a frozen autoencoder on `{"image": [B, H, W, C], "index": [B]}`.

    Args:
      model: the autoencoder, see `learner`.
      prior: the model of its codes.
      optimizer: optimizer of the prior, any optax transformation.
      num_codes: K, number of codes.

    Returns:
      The learner, as `learner` describes it; `evaluate` returns what `prior.measure` does in place of `prior_bits`.
    """
    check_shapes(num_codes=(num_codes, "int >= 1"))

    def encode(frozen: Any, batch: dict) -> tuple[jax.Array, jax.Array]:
        _, codes, q = quantize(model, frozen["autoencoder"], frozen["codebook"], normalize(batch["image"]))
        return codes, q  # [B, h, w], [B, h, w, D]

    def objective(params, state, batch, rng, dropout=None):
        # Codes of the frozen autoencoder, and the loss of the model of codes.
        codes = encode(state.frozen, batch)[0]
        return prior.loss(params, codes, mask_of(batch), example_keys(rng, batch), dropout)

    def loss(params: Any, state: VQVAEPriorState, batch: dict) -> tuple[jax.Array, Metrics]:
        return objective(params, state, batch, state.rng)

    def init(rng: jax.Array, batch: dict) -> VQVAEPriorState:
        x = normalize(batch["image"])
        autoencoder = model.init(jax.random.fold_in(rng, 0), x[:1])["params"]
        z = model.apply({"params": autoencoder}, x, method="encode")  # [B, h, w, D]
        codebook = codebook_from(jax.random.fold_in(rng, 3), z.reshape(-1, z.shape[-1]), num_codes).vectors
        params = prior.init(jax.random.fold_in(rng, 1))
        frozen = {"autoencoder": autoencoder, "codebook": codebook}
        step, rng = jnp.zeros((), jnp.int32), jax.random.fold_in(rng, 2)
        return VQVAEPriorState(step, rng, params, optimizer.init(params), frozen)

    def update(state: VQVAEPriorState, batch: dict) -> tuple[VQVAEPriorState, Metrics]:
        # Random numbers of the step, for priors that mask codes or drop units.
        rng = jax.random.fold_in(state.rng, state.step)
        dropout = replica_key(jax.random.fold_in(rng, 1))
        # Gradient of the prior alone, then the optimizer step.
        gradients, metrics = jax.grad(objective, has_aux=True)(state.params, state, batch, rng, dropout)
        return apply_gradients(state, optimizer, gradients), metrics

    def evaluate(state: VQVAEPriorState, batch: dict) -> Metrics:
        codes, mask = encode(state.frozen, batch)[0], mask_of(batch)
        usage = codebook_usage(codes, mask, num_codes)
        histogram = {"histogram_bits": HistogramBits(usage["perplexity"].counts)}
        return prior.measure(state.params, codes, mask, example_keys(state.rng, batch)) | histogram | usage

    def predict(state: VQVAEPriorState, batch: dict) -> dict[str, jax.Array]:
        autoencoder, codebook = state.frozen["autoencoder"], state.frozen["codebook"]
        codes = prior.sample(state.params, example_keys(state.rng, batch))  # [B, h, w]
        outputs = {"sample": decode_vectors(model, autoencoder, codebook[codes])}
        if "image" not in batch:
            return outputs
        codes, q = encode(state.frozen, batch)
        y = decode_vectors(model, autoencoder, q)  # [B, H, W, C]
        target = (normalize(batch["image"]) + 1) / 2
        return outputs | {"codes": codes, "reconstruction": y, "psnr": jax.vmap(psnr)(y, target)}

    return Learner(init, update, evaluate, predict, loss)


@check_arguments
def learner(
    *,
    model: nn.Module,
    prior: nn.Module,
    optimizer: optax.GradientTransformation,
    num_codes: Annotated[int, Range(2)] = 128,
    temperature: Annotated[float, Range(0)] = 1.0,
) -> Learner:
    """Train a prior of the codes of `{"image": [B, H, W, C], "index": [B]}`.

    Args:
      model: the autoencoder, with `encode`, `decode` and `grid`, as `dlcore.generative.vq_vae.VQVAE`; `init` gives it
        random weights and a codebook of its outputs, and those of a trained one belong in `VQVAEPriorState.frozen`.
      prior: an autoregressive network of `num_codes` levels, as `dlcore.generative.autoregressive` describes it.
      optimizer: optimizer of the prior, any optax transformation.
      num_codes: K, number of codes.
      temperature: temperature of samples; below 1 they are more probable and less diverse.

    Returns:
      The learner. `evaluate` returns `prior_bits` a code, `histogram_bits`, what codes drawn by their frequencies alone
      take, and `perplexity` and `usage` of the codebook. `predict` returns a `sample` by the index alone, and of images
      `codes [B, h, w]` and `reconstruction [B, H, W, C]` with its `psnr [B]`.
    """

    def init(key: jax.Array) -> Any:
        return prior.init(key, jnp.zeros((1, *model.grid, 1), jnp.int32))["params"]

    def loss(params, codes, mask, keys, dropout=None) -> tuple[jax.Array, Metrics]:
        # Negative log-likelihood of the codes.
        mean, metrics = prior_loss(prior, params, codes, mask)
        nats = metrics["prior_bits"]
        return mean, {"loss": Sum(nats.total, nats.count), **metrics}

    def measure(params, codes, mask, keys) -> Metrics:
        return loss(params, codes, mask, keys)[1]

    def draw(params, keys) -> jax.Array:
        return sample(prior, params, keys, (*model.grid, 1), temperature=temperature)[..., 0]

    return code_learner(model, CodePrior(init, loss, measure, draw), optimizer, num_codes)
