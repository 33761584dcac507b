"""Deep Q-learning with a replay buffer and a target network.

Mnih et al. 2015, Nature 518; double Q-learning by van Hasselt, Guez & Silver 2016, arXiv:1509.06461.

    y = r + gamma (1 - terminated) Q_target(s', argmax_a Q(s', a))        without double: max_a Q_target(s', a)
    L = (Q(s, a) - stop_gradient(y))^2 / 2

The buffer holds the last L steps of each environment instance, [N, L, ...]; s' is the state that the action led to, so
that an episode cut off by time is worth what was still to come. Exploration falls linearly from 1.
"""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.learner import Learner, Metrics, Range, State, Sum, example_keys, mask_of
from dlcore.rl.environments import Environment, play

__all__ = ["DQNState", "Transition", "learner", "q_target"]


class Transition(NamedTuple):
    """One step: `next_observation` is what the action led to, before any new episode."""

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    terminated: jax.Array
    next_observation: jax.Array


@struct.dataclass
class DQNState(State):
    """target: parameters of the target network. replay: Transition of [N, L, ...]. written: [] int32, steps stored."""

    target: Any
    environment: Any
    observation: jax.Array
    episode_return: jax.Array
    replay: Transition
    written: jax.Array


def q_target(
    reward: jax.Array,
    terminated: jax.Array,
    next_q: jax.Array,
    next_target_q: jax.Array,
    discount: float | jax.Array,
    double: bool = True,
) -> jax.Array:
    """y of one transition; next_q, next_target_q: [A], values of s' by the network and by the target network."""
    best = next_target_q[next_q.argmax()] if double else next_target_q.max()
    return jax.lax.stop_gradient(reward + discount * jnp.where(terminated, 0.0, best))


def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    environment: Environment,
    steps_per_update: Annotated[int, Range(1)] = 32,
    buffer_steps: Annotated[int, Range(1)] = 1024,
    minibatch: Annotated[int, Range(1)] = 128,
    warmup_steps: Annotated[int, Range(0)] = 64,
    explore_steps: Annotated[int, Range(1)] = 2000,
    final_epsilon: Annotated[float, Range(0, 1)] = 0.05,
    target_every: Annotated[int, Range(1)] = 100,
    discount: Annotated[float, Range(0, 1)] = 0.99,
    double: bool = True,
    axis: str | None = None,
) -> Learner:
    """Action values for `environment`; the batch is `{"index": [N]}`, one entry an instance of the environment.

    Args:
      model: `__call__(observations [B, ...]) -> values [B, A]`.
      optimizer: any optax transformation.
      environment: see `dlcore.rl.environments`.
      steps_per_update: steps of each instance in one update, each followed by one gradient step.
      buffer_steps: steps kept of each instance.
      minibatch: transitions of a gradient step.
      warmup_steps: steps of each instance before the first gradient step.
      explore_steps: steps over which exploration falls from 1 to `final_epsilon`.
      final_epsilon: share of random actions at the end.
      target_every: gradient steps between two copies to the target network.
      discount: gamma.
      double: choose the next action by the network and value it by the target network.
      axis: name of the mapped axis under pmap; each replica samples its own environments' steps.

    evaluate plays one episode an index (or a number in `episode: [B]`), greedily; predict gives their
    `{"return", "length"}`: [B].
    """

    def q_values(params, observation):
        return model.apply({"params": params}, observation)

    def init(rng: jax.Array, batch: dict) -> DQNState:
        env_state, observation = jax.vmap(environment.reset)(example_keys(jax.random.fold_in(rng, 0), batch))
        params = model.init(jax.random.fold_in(rng, 1), observation)["params"]
        count = batch["index"].shape[0]

        def room(x):
            return jnp.zeros((count, buffer_steps, *x.shape[1:]), x.dtype)

        scalar = jnp.zeros(count, jnp.float32)
        step = Transition(observation, scalar.astype(jnp.int32), scalar, scalar.astype(bool), observation)
        return DQNState(
            step=jnp.zeros((), jnp.int32), rng=jax.random.fold_in(rng, 2), params=params,
            opt_state=optimizer.init(params), target=params, environment=env_state, observation=observation,
            episode_return=scalar, replay=jax.tree.map(room, step), written=jnp.zeros((), jnp.int32),
        )  # fmt: skip

    def td_loss(params, target, data: Transition):
        q = jnp.take_along_axis(q_values(params, data.observation), data.action[:, None], -1)[:, 0]
        y = jax.vmap(q_target, in_axes=(0, 0, 0, 0, None, None))(
            data.reward, data.terminated, q_values(params, data.next_observation),
            q_values(target, data.next_observation), discount, double,
        )  # fmt: skip
        losses = optax.l2_loss(q, y)
        return losses.mean(), (losses, q)

    def act(state: DQNState, keys: jax.Array):
        epsilon = jnp.maximum(final_epsilon, 1 - (1 - final_epsilon) * state.written / explore_steps)
        greedy = q_values(state.params, state.observation).argmax(-1)

        def choose(key, greedy):
            explore, which = jax.random.split(key)
            random = jax.random.randint(which, (), 0, environment.num_actions)
            return jnp.where(jax.random.bernoulli(explore, epsilon), random, greedy).astype(jnp.int32)

        action = jax.vmap(choose)(keys[:, 0], greedy)
        env_state, out = jax.vmap(environment.step)(keys[:, 1], state.environment, action)
        transition = Transition(state.observation, action, out.reward, out.terminated, out.final)
        place = state.written % buffer_steps
        replay = jax.tree.map(lambda room, x: room.at[:, place].set(x), state.replay, transition)
        running = state.episode_return + out.reward
        done = out.terminated | out.truncated
        finished = Sum(jnp.where(done, running, 0).sum(), done.sum(dtype=jnp.int32))
        return state.replace(
            environment=env_state, observation=out.observation, episode_return=jnp.where(done, 0.0, running),
            replay=replay, written=state.written + 1,
        ), finished  # fmt: skip

    def sample(state: DQNState, key: jax.Array) -> Transition:
        stored = jnp.minimum(state.written, buffer_steps)
        rows, places = jax.random.split(key)
        row = jax.random.randint(rows, (minibatch,), 0, state.observation.shape[0])
        place = jax.random.randint(places, (minibatch,), 0, stored)
        return jax.tree.map(lambda room: room[row, place], state.replay)

    def update(state: DQNState, batch: dict) -> tuple[DQNState, Metrics]:
        root = jax.random.fold_in(state.rng, state.step)
        keys = example_keys(jax.random.fold_in(root, 0), batch)
        sampling = jax.random.fold_in(root, 1)
        if axis is not None:
            sampling = jax.random.fold_in(sampling, jax.lax.axis_index(axis))

        def step(state, t):
            state, finished = act(state, jax.vmap(lambda k: jax.random.split(jax.random.fold_in(k, t)))(keys))
            data = sample(state, jax.random.fold_in(sampling, t))
            gradients, (losses, q) = jax.grad(td_loss, has_aux=True)(state.params, state.target, data)
            updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
            learning = state.written > warmup_steps
            params, opt_state = jax.tree.map(
                lambda new, old: jnp.where(learning, new, old),
                (optax.apply_updates(state.params, updates), opt_state),
                (state.params, state.opt_state),
            )
            copy = state.written % target_every == 0
            target = jax.tree.map(lambda new, old: jnp.where(copy, new, old), params, state.target)
            state = state.replace(params=params, opt_state=opt_state, target=target)
            return state, {"return": finished, "loss": Sum.of(losses), "q": Sum.of(q)}

        state, metrics = jax.lax.scan(step, state, jnp.arange(steps_per_update))
        return state.replace(step=state.step + 1), {name: m.collapse() for name, m in metrics.items()}

    def predict(state: DQNState, batch: dict) -> dict[str, jax.Array]:
        def policy(key, observation):
            return q_values(state.params, observation[None])[0].argmax()

        keys = example_keys(state.rng, {"index": batch.get("episode", batch["index"])})
        total, length = jax.vmap(lambda key: play(environment, policy, key, environment.max_steps))(keys)
        return {"return": total, "length": length}

    def evaluate(state: DQNState, batch: dict) -> Metrics:
        mask = mask_of(batch)
        return {name: Sum.of(values, mask) for name, values in predict(state, batch).items()}

    return Learner(
        init, update, evaluate, predict, batched=("environment/*", "observation", "episode_return", "replay/*")
    )
