"""Returns of agents on classic control: CleanRL, the zoo of Stable-Baselines3, and the logs of gymnax-blines."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax
from flax import linen as nn

from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.learner import Learner
from dlcore.optim import create_optimizer, create_schedule
from dlcore.rl import a2c, dqn, environments, networks, ppo, sac, td3
from dlcore.rl.environments import Environment
from dlcore.rl.off_policy import OffPolicy
from dlcore.rl.rollout import GAE, Normalization
from dlcore.run.evaluate import evaluate
from dlcore.run.fit import fit
from experiments.papers.table import Run, Table

__all__ = ["TABLES", "FlatActorCritic", "sampled_returns"]

EPISODES = 100


class FlatActorCritic(nn.Module):
    """`ActorCritic` of flattened boards.

    Args:
      num_actions: A.
      width: units of each dense layer.
    """

    num_actions: int
    width: int = 64

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[Any, jax.Array]:
        """Compute the policy and the value of observations: [B, ...] -> (distribution over A actions, [B])."""
        return networks.ActorCritic(self.num_actions, self.width)(x.reshape(x.shape[0], -1))


def sampled_returns(environment: Environment, model: nn.Module, params: Any, key: jax.Array, count: int) -> jax.Array:
    """Play episodes with actions drawn from the policy.

    Args:
      environment: environment to play in.
      model: `__call__(observations) -> (distribution, values)`.
      params: its parameters.
      key: PRNG key.
      count: number of episodes.

    Returns:
      [count] returns.
    """

    def act(key: jax.Array, observation: jax.Array) -> jax.Array:
        policy: Any = model.apply({"params": params}, observation[None])
        return policy[0].sample(key)[0]

    def mean_return(key: jax.Array) -> jax.Array:
        return environments.rollout_episode(environment, act, key, environment.max_steps)[0]

    return jax.vmap(mean_return)(jax.random.split(key, count))


def _adam(rate: float, gradient_steps: int = 0, clip: float = 0.5) -> optax.GradientTransformation:
    """Adam; its rate falls linearly to 0 over `gradient_steps`, where they are given."""
    schedule = create_schedule("linear", rate, gradient_steps) if gradient_steps else rate
    return create_optimizer("adam", schedule, clip_norm=clip)


def _ppo(
    environment: Environment,
    updates: int,
    rate: float,
    anneal: bool,
    options: ppo.PPO,
    clip: float = 0.5,
    model: nn.Module | None = None,
    **settings: Any,
) -> Learner:
    gradient_steps = updates * options.num_epochs * options.num_minibatches if anneal else 0
    return ppo.learner(
        model=networks.actor_critic(environment) if model is None else model,
        optimizer=_adam(rate, gradient_steps, clip),
        environment=environment,
        ppo=options,
        **settings,
    )


def _train(learner: Learner, instances: int, updates: int, seed: int, **options: Any) -> Any:
    train = Pipeline(Source.indices(instances), instances, shuffle=False)
    return fit(learner, train, steps=updates, seed=seed, progress=False, **options)


def _last_training_returns(learner: Learner, instances: int, updates: int, seed: int) -> float:
    """Return of the episodes that end in the last tenth of the training, with the actions of the training."""
    log_every = -(-updates // 10)
    return _train(learner, instances, updates, seed, log_every=log_every).history[-1]["return"]


def _greedy_return(learner: Learner, instances: int, updates: int, seed: int) -> float:
    """Mean return of episodes with the most probable or most valued action, after the training."""
    result = _train(learner, instances, updates, seed)
    return float(evaluate(learner, result.state, Source.indices(EPISODES))["return"])


# CleanRL


def _cleanrl_ppo(name: str, seed: int) -> float:
    updates = 500_000 // (4 * 128)
    options = ppo.PPO(num_epochs=4, num_minibatches=4, ent_coef=0.01)
    learner = _ppo(environments.make(name), updates, 2.5e-4, True, options, num_steps=128)
    return _last_training_returns(learner, 4, updates, seed)


def _cleanrl_dqn(name: str, seed: int) -> float:
    environment = environments.make(name)
    learner = dqn.learner(
        model=networks.q_network(environment, 120),
        optimizer=_adam(2.5e-4, clip=1e3),
        environment=environment,
        num_steps=50,
        buffer_size=1000,
        minibatch_size=128,
        learning_starts=1000,
        exploration_steps=25_000,
        target_update_interval=50,
        double=False,
    )
    return _last_training_returns(learner, 10, 1000, seed)


def _cleanrl(
    name: str, of_ppo: tuple[float, float], of_dqn: tuple[float, float], seeds: tuple[int, ...] = (0,)
) -> tuple[Run, ...]:
    return (
        Run(f"PPO, {name}", functools.partial(_cleanrl_ppo, name), *of_ppo, differs="no clipping of the value loss"),
        Run(
            f"DQN, {name}",
            functools.partial(_cleanrl_dqn, name),
            *of_dqn,
            seeds=seeds,
            differs="10 instances step together, then one gradient step; both layers have 120 units, not 120 and 84",
        ),
    )


# The zoo of Stable-Baselines3


def _zoo_ppo_cartpole(seed: int) -> float:
    updates = 100_000 // 256
    options = ppo.PPO(num_epochs=20, num_minibatches=1)
    gae = GAE(gamma=0.98, gae_lambda=0.8)
    learner = _ppo(environments.make("CartPole-v1"), updates, 1e-3, True, options, num_steps=32, gae=gae)
    return _greedy_return(learner, 8, updates, seed)


def _zoo_ppo_normalized(name: str, num_steps: int, gae_lambda: float, seed: int) -> float:
    """16 environments, 1M steps, minibatches of 64."""
    updates = 1_000_000 // (16 * num_steps)
    learner = _ppo(
        environments.make(name),
        updates,
        3e-4,
        False,
        ppo.PPO(num_epochs=4, num_minibatches=num_steps // 4),
        num_steps=num_steps,
        gae=GAE(gae_lambda=gae_lambda),
        normalization=Normalization(normalize_observation=True, normalize_reward=True),
    )
    return _greedy_return(learner, 16, updates, seed)


def _zoo_ppo_pendulum(seed: int) -> float:
    updates = 100_000 // 4096
    options = ppo.PPO(num_epochs=10, num_minibatches=64)
    environment, gae = environments.make("Pendulum-v1"), GAE(gamma=0.9)
    learner = _ppo(environment, updates, 1e-3, False, options, num_steps=1024, gae=gae)
    return _greedy_return(learner, 4, updates, seed)


def _zoo_a2c(name: str, instances: int, steps: int, normalize: bool, seed: int) -> float:
    environment = environments.make(name)
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.rmsprop(7e-4, decay=0.99, eps=1e-5))
    learner = a2c.learner(
        model=networks.actor_critic(environment),
        optimizer=optimizer,
        environment=environment,
        num_rollouts=50,
        normalization=Normalization(normalize, normalize),
    )
    return _greedy_return(learner, instances, steps // (instances * 250), seed)


def _zoo_dqn(name: str, updates: int, rate: float, settings: Mapping[str, Any], seed: int) -> float:
    """2 instances of 50 steps an update, each followed by a gradient step."""
    environment = environments.make(name)
    learner = dqn.learner(
        model=networks.q_network(environment, 256),
        optimizer=_adam(rate, clip=10.0),
        environment=environment,
        num_steps=50,
        learning_starts=500,
        double=False,
        **settings,
    )
    return _greedy_return(learner, 2, updates, seed)


CARTPOLE_DQN = {
    "buffer_size": 25_000,
    "minibatch_size": 64,
    "exploration_steps": 4000,
    "exploration_final_eps": 0.04,
    "target_update_interval": 128,  # there the target follows while steps are taken, and 128 gradient steps wait
}
MOUNTAIN_CAR_DQN = {
    "buffer_size": 5000,
    "minibatch_size": 128,
    "exploration_steps": 12_000,
    "exploration_final_eps": 0.07,
    "target_update_interval": 300,
    "gamma": 0.98,
}


def _zoo(name: str, published: float, measure: Callable[..., float], *setting: Any, differs: str = "") -> Run:
    return Run(name, functools.partial(measure, *setting), published, seeds=(0,), differs=differs)


def _zoo_continuous(build: Callable[..., Learner], gamma: float, seed: int) -> float:
    environment = environments.make("Pendulum-v1")
    learner = build(
        model=networks.actor_twin_critic(environment),
        optimizer=_adam(1e-3, clip=1e3),
        environment=environment,
        off_policy=OffPolicy(num_steps=25, gradient_steps=4, reward_scale=0.1, gamma=gamma),
    )
    return _greedy_return(learner, 4, 200, seed)


PAIRS = "2 instances step together, then a gradient step, in place of many after each 256 or 16 steps"
CONTINUOUS = (
    "width 64, minibatches of 128; 4 instances step together, then 4 gradient steps; rewards times 0.1; 400 random "
    "steps"
)

# gymnax-blines


def _blines(
    name: str,
    instances: int,
    num_steps: int,
    options: ppo.PPO,
    marks: Mapping[str, int],
    unit: int,
    width: int,
    gamma: float,
    clip: float,
    episodes: int,
    seed: int,
) -> dict[str, float]:
    """Mean returns of episodes with sampled actions, after as many environment steps, in `unit`s, as `marks` say."""
    environment = environments.make(name)
    updates = round(unit / (instances * num_steps))
    at = {updates * round(steps / unit): label for label, steps in marks.items()}
    boards = len(environment.observation_shape) == 3
    model = (
        FlatActorCritic(environment.num_actions or 1, width) if boards else networks.actor_critic(environment, width)
    )
    mean_return = jax.jit(lambda params, key: sampled_returns(environment, model, params, key, episodes).mean())
    returns: dict[str, float] = {}

    def measure(step: int, state: Any, _: Mapping[str, float]) -> None:
        if step in at:
            returns[at[step]] = float(mean_return(state.params, jax.random.key(step)))

    gae = GAE(gamma=gamma)
    learner = _ppo(environment, 0, 5e-4, False, options, clip, model, num_steps=num_steps, gae=gae)
    _train(learner, instances, max(at), seed, hooks=[measure], log_every=updates)
    return returns


def _blines_run(
    name: str, published: Mapping[str, float], marks: tuple[int, ...], *setting: Any, **options: Any
) -> Run:
    labels = dict(zip(published, marks, strict=True))
    measure = functools.partial(_blines, name, *setting[:3], labels, *setting[3:])
    return Run(name, measure, published, seeds=(0,), **options)


SMALL = ppo.PPO(num_epochs=4, num_minibatches=4, ent_coef=0.01)
BOARDS = ppo.PPO(num_epochs=4, num_minibatches=8, ent_coef=0.01)
BLINES = "Lange 2022, gymnax-blines"
BLINES_SOURCE = "RobertTLange/gymnax-blines agents/*/ppo.pkl@3f029d6"
BLINES_DIFFERS = "tanh in place of ReLU, the value loss is not clipped, no warm-up of Adam's schedule."


def _minatar(name: str, early: float, late: float) -> Run:
    published = {f"{name}, 0.32M steps": early, f"{name}, 0.96M steps": late}
    environment = f"{name}-MinAtar"
    marks = (320_000, 960_000)
    return _blines_run(environment, published, marks, 64, 128, BOARDS, 320_000, 256, 0.999, 0.5, 32)


TABLES = (
    Table(
        key="cleanrl-classic-control",
        paper="Huang et al. 2022, CleanRL",
        place="documentation, benchmarks of ppo.py and dqn.py",
        source="vwxyzjn/cleanrl docs/rl-algorithms/ppo.md and dqn.md@fe8d8a0",
        setting="500,000 environment steps with the defaults of each script (PPO: 4 environments, rollouts of 128, "
        "Adam 2.5e-4 falling to 0, entropy 0.01; DQN: buffer 10,000, a gradient step of 128 every 10 steps, Adam "
        "2.5e-4, epsilon to 0.05 over the first half), three seeds, returns of the training episodes at the end.",
        metric="return",
        better="higher",
        margin=10.0,
        runs=(
            *_cleanrl("CartPole-v1", (490.04, 6.12), (488.69, 16.11), (0, 1, 2)),
            *_cleanrl("Acrobot-v1", (-86.36, 1.32), (-91.54, 7.20)),
            *_cleanrl("MountainCar-v0", (-200.0, 0.0), (-194.95, 8.48)),
        ),
        differs="the environments are gymnax's; ours are the returns of all training episodes of the last tenth.",
        verdict="PPO and DQN are met on CartPole and Acrobot, though one of three seeds of DQN fell to 356 on "
        "CartPole. MountainCar is not run.",
    ),
    Table(
        key="zoo-discrete",
        paper="Raffin 2020, RL Baselines3 Zoo",
        place="benchmark.md, CartPole-v1, Acrobot-v1 and MountainCar-v0",
        source="DLR-RM/rl-baselines3-zoo benchmark.md@0088472; settings of hyperparams/ppo.yml@00128b5, "
        "a2c.yml@02846e4, and dqn.yml as quoted by reruns",
        setting="One run, then 150,000 steps of evaluation with the most probable action. PPO: 8 x 32 steps, 20 "
        "epochs of the whole rollout, gamma 0.98, lambda 0.8 (CartPole, 100k steps); 16 x 256 steps, minibatches of "
        "64, lambda 0.94, normalized observations and rewards (Acrobot, 1M); 16 x 16 steps, lambda 0.98 (MountainCar, "
        "1M). A2C: RMSprop 7e-4, rollouts of 5 (500k; MountainCar 1M). DQN: width 256, Adam 2.3e-3, minibatches of "
        "64, half a gradient step an environment step, target every 10 (50k).",
        metric="return",
        better="higher",
        margin=8.0,
        runs=(
            _zoo("PPO, CartPole-v1", 500.0, _zoo_ppo_cartpole, differs="the clipping range does not fall"),
            _zoo("A2C, CartPole-v1", 500.0, _zoo_a2c, "CartPole-v1", 8, 500_000, False),
            _zoo("DQN, CartPole-v1", 500.0, _zoo_dqn, "CartPole-v1", 500, 2.3e-3, CARTPOLE_DQN, differs=PAIRS),
            _zoo("PPO, Acrobot-v1", -73.506, _zoo_ppo_normalized, "Acrobot-v1", 256, 0.94),
            _zoo("A2C, Acrobot-v1", -83.353, _zoo_a2c, "Acrobot-v1", 16, 500_000, True),
            _zoo("PPO, MountainCar-v0", -110.423, _zoo_ppo_normalized, "MountainCar-v0", 16, 0.98),
            _zoo("A2C, MountainCar-v0", -111.263, _zoo_a2c, "MountainCar-v0", 16, 1_000_000, True),
            _zoo(
                "DQN, MountainCar-v0", -100.849, _zoo_dqn, "MountainCar-v0", 1200, 4e-3, MOUNTAIN_CAR_DQN, differs=PAIRS
            ),
        ),
        differs="the environments are gymnax's; 100 episodes are played. The zoo's standard deviation is over episodes "
        "(17 to 18 on Acrobot), not over seeds, and is no spread here.",
        verdict="PPO is met in all three; A2C in two, and on MountainCar it is 21 below. DQN does not find "
        "MountainCar's goal: no episode ends before 200 steps.",
    ),
    Table(
        key="zoo-pendulum",
        paper="Raffin 2020, RL Baselines3 Zoo",
        place="benchmark.md, Pendulum-v1",
        source="DLR-RM/rl-baselines3-zoo benchmark.md@0088472; settings of hyperparams/ppo.yml@00128b5, "
        "sac.yml@00128b5 and ddpg.yml@1159e28",
        setting="One run, then 150,000 steps of evaluation with the most probable action. PPO: 4 x 1,024 steps, 10 "
        "epochs, minibatches of 64, gamma 0.9, Adam 1e-3 (100k steps). SAC: Adam 1e-3, gamma 0.99; TD3 and DDPG: Adam "
        "1e-3, gamma 0.98, noise 0.1, 10,000 random steps; a gradient step an environment step (20k).",
        metric="return",
        better="higher",
        margin=15.0,
        runs=(
            _zoo("PPO", -172.225, _zoo_ppo_pendulum, differs="independent noise, no gSDE"),
            _zoo("SAC", -156.995, _zoo_continuous, sac.learner, 0.99, differs=CONTINUOUS),
            _zoo("TD3", -151.855, _zoo_continuous, td3.learner, 0.98, differs=CONTINUOUS),
            _zoo(
                "DDPG",
                -152.099,
                _zoo_continuous,
                functools.partial(td3.learner, kind="ddpg"),
                0.98,
                differs=CONTINUOUS,
            ),
        ),
        differs="the environment is gymnax's; 100 episodes are played. The zoo's standard deviation (89 to 104) is "
        "over episodes, not over seeds, and is no spread here.",
        verdict="TD3 is met; SAC and DDPG are 23 and 17 better, which 100 episodes, with an error of about 9, do not "
        "tell from the margin. PPO is 35 worse, without gSDE.",
    ),
    Table(
        key="gymnax-blines-control",
        paper=BLINES,
        place="logs of PPO on CartPole, Acrobot and Pendulum",
        source=BLINES_SOURCE,
        setting="One agent, 164 episodes with sampled actions. PPO: 8 x 32 steps (CartPole), 16 x 32 (Acrobot), 32 x "
        "16 (Pendulum); 4 minibatches, 4 epochs, Adam 5e-4, entropy 0.01, gamma 0.99, lambda 0.95, two layers of 64.",
        metric="return",
        better="higher",
        margin=15.0,
        runs=(
            _blines_run(
                "CartPole-v1",
                {"CartPole, 104k steps": 475.54, "CartPole, 120k steps": 500.0, "CartPole, 144k steps": 500.0},
                (104_000, 120_000, 144_000),
                *(8, 32, SMALL, 8000, 64, 0.99, 0.5, 164),
            ),
            _blines_run(
                "Acrobot-v1",
                {
                    "Acrobot, 112k steps": -88.64,
                    "Acrobot, 208k steps": -83.96,
                    "Acrobot, 272k steps": -78.90,
                    "Acrobot, 400k steps": -78.87,
                    "Acrobot, 496k steps": -78.88,
                },
                (112_000, 208_000, 272_000, 400_000, 496_000),
                *(16, 32, SMALL, 16_000, 64, 0.99, 1.0, 164),
            ),
            _blines_run(
                "Pendulum-v1",
                {"Pendulum, 800k steps": -200.67, "Pendulum, 992k steps": -200.62},
                (800_000, 992_000),
                *(32, 16, SMALL, 32_000, 64, 0.99, 1.0, 164),
                differs="one deviation for all observations",
            ),
        ),
        differs=BLINES_DIFFERS,
        verdict="CartPole holds the pole by the first mark, earlier than the log; Acrobot is met, its last mark 10 "
        "below. Pendulum is not: this agent has not learned to swing up. What differs there is the policy, whose "
        "deviation begins at the whole range of the torque.",
    ),
    Table(
        key="gymnax-blines-minatar",
        paper=BLINES,
        place="logs of PPO on MinAtar, the first 0.96M of 10M steps",
        source=BLINES_SOURCE,
        setting="One agent, 164 episodes with sampled actions. PPO: 64 x 128 steps, 8 minibatches, 4 epochs, Adam "
        "5e-4, entropy 0.01, gamma 0.999, lambda 0.95, two layers of 256 on the flattened board.",
        metric="return",
        better="higher",
        margin=3.0,
        runs=(
            _minatar("Breakout", 8.37, 16.63),
            _minatar("Asterix", 1.36, 1.80),
            _minatar("SpaceInvaders", 19.40, 50.38),
            _minatar("Freeway", 24.69, 29.04),
        ),
        differs=BLINES_DIFFERS + " 32 episodes are played.",
        verdict="Asterix is met, and SpaceInvaders is 4 and 5 above. Breakout is met at the first mark and stays "
        "there, at 6.3, where the log reaches 16.6.",
    ),
)
