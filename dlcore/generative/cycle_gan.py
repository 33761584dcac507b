"""CycleGAN: translate between two kinds of images from unpaired examples, by a cycle that must lead back.

Zhu, Park, Isola & Efros 2017, arXiv:1703.10593; the pool is Shrivastava et al. 2017, arXiv:1612.07828.

    F: a -> b,  G: b -> a
    F, G minimize  adversarial(D_b(F(a))) + adversarial(D_a(G(b))) + lambda (|G(F(a)) - a| + |F(G(b)) - b|)
                   + identity lambda (|F(b) - b| + |G(a) - a|)
    D_a, D_b descend their loss on real images and on fakes from a pool

The pool keeps fakes of earlier steps: while it fills, each new fake joins it and is judged; later a coin decides, by
the step's key, whether the new one is judged, or takes the place of a random old one that is judged instead. It lies in
the state, so that a resumed run draws the same. The discriminators step first, where the authors' code has the
generators first.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.generative.image_to_image import l1
from dlcore.generative.pixels import denormalize, normalize
from dlcore.generative.two_players import LOSSES, AdversarialLoss, LossName, Players, PlayerState
from dlcore.learner import Learner, Metrics, Range, Sum, check_arguments, mask_of
from dlcore.losses import masked_mean
from dlcore.ops.checks import check_shapes
from dlcore.ops.replica import all_gather, local_rows

__all__ = ["Both", "CycleState", "Pool", "draw_from", "learner"]


class Both(nn.Module):
    """Two networks as one player: those that work on, or judge, images of a and of b.

    Args:
      a: network of images of a.
      b: network of images of b.
    """

    a: nn.Module
    b: nn.Module

    def __call__(self, a: Any, b: Any, train: bool = False) -> tuple[Any, Any]:
        """Call both: a of the first, b of the second -> both outputs."""
        return self.a(a, train=train), self.b(b, train=train)


@struct.dataclass
class Pool:
    """Buffer of generated images from earlier steps.

    Args:
      images: [P, H, W, C].
      count: [] int32, how many joined so far, at most P.
    """

    images: jax.Array
    count: jax.Array


@struct.dataclass
class CycleState(PlayerState):
    """The state of both pairs of networks.

    Args:
      pools: pools of the fake images of `a` and of `b`.
    """

    pools: dict[str, Pool]


def draw_from(pool: Pool, key: jax.Array, fakes: jax.Array, mask: jax.Array) -> tuple[Pool, jax.Array]:
    """Put fakes into a pool, one after the other, and draw as many for the discriminator.

    Args:
      pool: pool of P fakes, P may be 0.
      key: PRNG key of the draw.
      fakes: [B, H, W, C].
      mask: [B], 0 where an example is padding, which leaves the pool as it is.

    Returns:
      (the new pool, [B, H, W, C] to judge).
    """
    check_shapes(images=(pool.images, "P H W C"))
    check_shapes(fakes=(fakes, " ".join(["B", *map(str, pool.images.shape[1:])])), mask=(mask, "mask B"))
    size = len(pool.images)
    if size == 0:
        return pool, fakes

    def one(pool, row):
        key, fake, is_real = row
        coin, slot_key = jax.random.split(key)
        # Fill the pool first; then half of the fakes are exchanged for a stored one.
        is_filling = pool.count < size
        slot = jnp.where(is_filling, pool.count, jax.random.randint(slot_key, (), 0, size))
        stored = (is_filling | jax.random.bernoulli(coin)) & (is_real > 0)
        old = pool.images[slot]
        images = pool.images.at[slot].set(jnp.where(stored, fake, old))
        pooled = jnp.where(stored & ~is_filling, old, fake)
        return Pool(images, pool.count + (is_filling & (is_real > 0))), pooled

    keys = jax.vmap(lambda k: jax.random.fold_in(key, k))(jnp.arange(len(fakes)))
    return jax.lax.scan(one, pool, (keys, fakes, mask))


def _read(batch: dict) -> tuple[jax.Array, jax.Array]:
    return normalize(batch["a"]), normalize(batch["b"])


def _call(network: Both, params: Any, a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    return network.apply({"params": params}, a, b, train=True)


def _reconstruct(generators: Both, params: dict, a: jax.Array, b: jax.Array) -> tuple[jax.Array, ...]:
    """(fake b, fake a, cycle a, cycle b)."""
    fake_b, fake_a = _call(generators, params["generator"], a, b)
    cycle_b, cycle_a = _call(generators, params["generator"], fake_a, fake_b)
    return fake_b, fake_a, cycle_a, cycle_b


def _query_pools(
    pools: dict[str, Pool], rng: jax.Array, fakes: dict[str, jax.Array], mask: jax.Array
) -> tuple[dict[str, Pool], dict[str, jax.Array]]:
    """(pools with the new fakes in them, the fakes that are judged [B, H, W, C]), by kind."""
    new_pools, pooled_fakes = {}, {}
    for k, kind in enumerate(("a", "b")):
        pool, pooled = draw_from(pools[kind], jax.random.fold_in(rng, k), *all_gather((fakes[kind], mask)))
        new_pools[kind], pooled_fakes[kind] = pool, local_rows(pooled)
    return new_pools, pooled_fakes


def _discriminator_objective(
    discriminators: Both, loss: AdversarialLoss, real: tuple, pooled: dict, mask: jax.Array, params: dict
) -> tuple[jax.Array, tuple]:
    """Loss of both discriminators: real against pooled fakes."""
    a, b = real
    logits = _call(discriminators, params["discriminator"], _joined(a, pooled["a"]), _joined(b, pooled["b"]))
    losses = sum(loss.discriminator(*jnp.split(x, 2)).mean((1, 2)) for x in logits)  # [B]
    return masked_mean(losses, mask), ({}, losses)


def _generator_objective(
    networks: dict[str, Both],
    loss: AdversarialLoss,
    weights: tuple[float | jax.Array, float | jax.Array],
    real: tuple,
    mask: jax.Array,
    params: dict,
) -> tuple[jax.Array, tuple]:
    """Loss of both generators; weights of the cycle and of the identity."""
    (a, b), (cycle_weight, identity_weight), generators = real, weights, networks["generator"]
    if identity_weight:
        # Identity: an image of the target domain stays as it is.
        outputs = _call(generators, params["generator"], _joined(a, b), _joined(b, a))
        (fake_b, same_b), (fake_a, same_a) = (jnp.split(x, 2) for x in outputs)
    else:
        fake_b, fake_a = _call(generators, params["generator"], a, b)
    # Cycle consistency: there and back.
    cycle_b, cycle_a = _call(generators, params["generator"], fake_a, fake_b)
    logits = _call(networks["discriminator"], params["discriminator"], fake_a, fake_b)  # [B, h, w] each
    g_losses = sum(loss.generator(logit).mean((1, 2)) for logit in logits)  # [B]
    cycle = l1(cycle_a, a) + l1(cycle_b, b)  # [B]
    total = g_losses + cycle_weight * cycle
    if identity_weight:
        total = total + identity_weight * cycle_weight * (l1(same_a, a) + l1(same_b, b))
    return masked_mean(total, mask), ({}, (g_losses, cycle))


@check_arguments
def learner(
    *,
    generators: Both,
    discriminators: Both,
    generator_optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    loss: LossName = "least_squares",
    cycle_weight: Annotated[float, Range(0)] = 10.0,
    identity_weight: Annotated[float, Range(0)] = 0.5,
    pool_size: Annotated[int, Range(0)] = 50,
) -> Learner:
    """Train on `{"a": [B, H, W, C], "b": [B, H, W, C], "index": [B]}`, of which no a belongs to its b.

    Args:
      generators: `a` translates a to b, and `b` translates b to a, in [-1, 1].
      discriminators: discriminators of both domains a and b, `__call__(x, train) -> logits [B, h, w]`.
      loss: adversarial, of both players: non_saturating, minimax, hinge or least_squares.
      cycle_weight: lambda, weight of the way there and back, an L1 loss in units of [-1, 1].
      identity_weight: weight of leaving images of the target kind as they are, times lambda.
      pool_size: fakes of each kind that the discriminators are shown later; 0 shows the new ones.

    Returns:
      The learner. `evaluate` returns `cycle_l1`, in [0, 1]; where the batch has the true partners `b_of_a` and `a_of_b`
      also `map_l1`, the mean of both directions, and `unchanged_l1` of images that are left as they are. `predict`
      translates `a`, or `b`, or both, and gives `b_of_a`, `a_of_b`, and `cycle_a`, `cycle_b`, in [0, 1].
    """
    networks = {"generator": generators, "discriminator": discriminators}
    players = Players(networks, {"generator": generator_optimizer, "discriminator": discriminator_optimizer})
    weights = cycle_weight, identity_weight

    def init(rng: jax.Array, batch: dict) -> CycleState:
        a, b = _read(batch)

        def empty(x):
            return Pool(jnp.zeros((pool_size, *x.shape[1:]), x.dtype), jnp.zeros((), jnp.int32))

        fields = players.init(rng, {"generator": (a, b), "discriminator": (a, b)})
        return CycleState(**fields, pools={"a": empty(a), "b": empty(b)})

    def update(state: CycleState, batch: dict) -> tuple[CycleState, Metrics]:
        rng, mask = jax.random.fold_in(state.rng, state.step), mask_of(batch)
        # Translate both domains; the discriminators see fakes from the image pools.
        a, b = _read(batch)  # [B, H, W, C] each
        fakes = dict(zip(("b", "a"), _call(generators, state.params["generator"], a, b), strict=True))
        pools, pooled = _query_pools(state.pools, rng, fakes, mask)
        # Discriminator step.
        objective = functools.partial(_discriminator_objective, discriminators, LOSSES[loss], (a, b), pooled, mask)
        state, d_losses = players.turn("discriminator", state, objective)
        # Step of both generators.
        objective = functools.partial(_generator_objective, networks, LOSSES[loss], weights, (a, b), mask)
        state, (g_losses, cycle) = players.turn("generator", state, objective)
        metrics = {"g_loss": Sum.of(g_losses, mask), "d_loss": Sum.of(d_losses, mask)}
        return state.replace(step=state.step + 1, pools=pools), {**metrics, "cycle_l1": Sum.of(cycle / 4, mask)}

    def evaluate(state: CycleState, batch: dict) -> Metrics:
        a, b = _read(batch)
        mask, images = mask_of(batch), _reconstruct(generators, state.params, a, b)
        fake_b, fake_a, cycle_a, cycle_b, a, b = (denormalize(x) for x in (*images, a, b))
        numbers = {"cycle_l1": (l1(cycle_a, a) + l1(cycle_b, b)) / 2}
        if "b_of_a" in batch:
            true_b, true_a = (denormalize(normalize(batch[name])) for name in ("b_of_a", "a_of_b"))
            numbers["map_l1"] = (l1(fake_b, true_b) + l1(fake_a, true_a)) / 2
            numbers["unchanged_l1"] = (l1(a, true_b) + l1(b, true_a)) / 2
        return {name: Sum.of(values, mask) for name, values in numbers.items()}

    def predict(state: CycleState, batch: dict) -> dict[str, jax.Array]:
        a, b = (batch[kind] if kind in batch else batch[other] for kind, other in (("a", "b"), ("b", "a")))
        fake_b, fake_a, cycle_a, cycle_b = _reconstruct(generators, state.params, normalize(a), normalize(b))
        outputs = {}
        outputs |= {"b_of_a": fake_b, "cycle_a": cycle_a} if "a" in batch else {}
        outputs |= {"a_of_b": fake_a, "cycle_b": cycle_b} if "b" in batch else {}
        return {name: denormalize(x) for name, x in outputs.items()}

    return Learner(init, update, evaluate, predict)


def _joined(x: jax.Array, y: jax.Array) -> jax.Array:
    """Two batches as one, so that a network is called once."""
    return jnp.concatenate([x, y])
