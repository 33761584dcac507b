"""Flows between points of the plane: conditional flow matching with and without optimal transport."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn import datasets

from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.generative.flow_matching import TIME_SCALE, flow_times, reflow_loss, solve_flow
from dlcore.learner import Learner, State, Sum
from dlcore.optim import apply_gradients, create_optimizer, init_state
from dlcore.run.fit import fit
from experiments.papers.table import Run, Table

__all__ = ["TABLES", "Velocity", "couple", "path_energy", "wasserstein"]

POINTS, TEST_POINTS, BATCH, STEPS, SIGMA = 10_000, 1000, 128, 5000, 0.1
COUPLED = 32_000
"""Pairs that are trained on; each of the points stands in several."""


class Velocity(nn.Module):
    """Three SELU layers of 64 on a point and its time: (x [B, 2], 1000 t [B] or []) -> velocity [B, 2]."""

    @nn.compact
    def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
        """Compute the velocity of points x [B, 2] at times t."""
        x = jnp.concatenate([x, jnp.broadcast_to(t / TIME_SCALE, len(x))[:, None]], 1)
        for _ in range(3):
            x = nn.selu(nn.Dense(64)(x))
        return nn.Dense(2)(x)


def couple(noise: np.ndarray, data: np.ndarray, batch: int) -> np.ndarray:
    """Order noise so that it lies closest to the data, batch by batch.

    Args:
      noise: [N, D].
      data: [N, D].
      batch: points of a batch; divides N.

    Returns:
      [N, D]: in each batch the noise in the order whose squared distances to the data have the smallest sum.
    """
    batches = zip(noise.reshape(-1, batch, noise.shape[1]), data.reshape(-1, batch, data.shape[1]), strict=True)
    return np.concatenate([z[linear_sum_assignment(cdist(x, z, "sqeuclidean"))[1]] for z, x in batches])


def wasserstein(a: np.ndarray, b: np.ndarray) -> float:
    """2-Wasserstein distance of two sets of as many points [N, D], by the best assignment."""
    cost = cdist(a, b, "sqeuclidean")
    return float(np.sqrt(cost[linear_sum_assignment(cost)].mean()))


def path_energy(path: np.ndarray) -> float:
    """Mean of the integral of |dx / dt|^2 over t from 0 to 1 of paths [T + 1, N, D] with equal steps of time."""
    steps = len(path) - 1
    return float(steps * np.square(np.diff(path, axis=0)).sum((0, 2)).mean())


def _learner() -> Learner:
    """Train `Velocity` on pairs {"data": [B, 2], "noise": [B, 2]}, whose line is blurred by SIGMA."""
    model, optimizer = Velocity(), create_optimizer("adamw", 1e-3, weight_decay=1e-5)

    def velocity(params: Any, x: jax.Array, t: jax.Array) -> Any:
        return model.apply({"params": params}, x, t)

    def init(rng: jax.Array, batch: dict) -> State:
        return init_state(model.init(rng, batch["data"], jnp.zeros(()))["params"], optimizer, rng)

    def objective(params: Any, batch: dict, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        time_key, blur_key = jax.random.split(key)
        t = jax.random.uniform(time_key, batch["index"].shape)
        blur = SIGMA * jax.random.normal(blur_key, batch["data"].shape)
        network = functools.partial(velocity, params)
        losses = reflow_loss(network, batch["data"] + blur, batch["noise"] + blur, t)
        return losses.mean(), losses

    def update(state: State, batch: dict) -> tuple[State, dict]:
        key = jax.random.fold_in(state.rng, state.step)
        gradients, losses = jax.grad(objective, has_aux=True)(state.params, batch, key)
        return apply_gradients(state, optimizer, gradients), {"loss": Sum.of(losses)}

    def evaluate(state: State, batch: dict) -> dict:
        return {"loss": Sum.of(objective(state.params, batch, state.rng)[1])}

    def predict(state: State, batch: dict) -> dict:
        network = functools.partial(velocity, state.params)
        _, path = solve_flow(network, batch["noise"], flow_times(20), return_trajectory=True)
        return {"path": path.swapaxes(0, 1)}

    return Learner(init, update, evaluate, predict)


def _normal(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.normal(size=(count, 2))


def _moons(rng: np.random.Generator, count: int) -> np.ndarray:
    points = datasets.make_moons(count, noise=0.05, random_state=int(rng.integers(2**31)))[0]
    return 2 * np.asarray(points) - [1, 0]


def _s_curve(rng: np.random.Generator, count: int) -> np.ndarray:
    points = datasets.make_s_curve(count, noise=0.05, random_state=int(rng.integers(2**31)))[0]
    return 1.5 * np.asarray(points)[:, [0, 2]]


def _circle(rng: np.random.Generator, count: int, radius: float, deviation: float, balanced: bool) -> np.ndarray:
    """Eight Gaussians on a circle."""
    index = np.arange(count) % 8 if balanced else rng.integers(8, size=count)
    angle = index * np.pi / 4
    return radius * np.stack([np.cos(angle), np.sin(angle)], 1) + deviation * rng.normal(size=(count, 2))


def _eight_gaussians(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.permutation(_circle(rng, count, 5.0, 1.0, balanced=True))


def _wide_gaussians(rng: np.random.Generator, count: int) -> np.ndarray:
    return _circle(rng, count, 12.0, 1.5, balanced=False)


def _wide_moons(rng: np.random.Generator, count: int) -> np.ndarray:
    points = np.asarray(datasets.make_moons(count, noise=0.1, random_state=int(rng.integers(2**31)))[0])
    return 7 * (points - points.mean()) / points.std()


Draw = Callable[[np.random.Generator, int], np.ndarray]


@functools.cache
def _measure(source: Draw, target: Draw, transported: bool, seed: int) -> tuple[float, float]:
    """Train a flow; return the distance of what it makes of test points, and the energy of its paths."""
    rng = np.random.default_rng(seed)
    noise, data = (draw(rng, POINTS)[rng.integers(POINTS, size=COUPLED)] for draw in (source, target))
    if transported:
        noise = couple(noise, data, BATCH)
    arrays = {"data": data.astype(np.float32), "noise": noise.astype(np.float32)}
    learner = _learner()
    state = fit(learner, Pipeline(Source(arrays), BATCH, seed=seed), steps=STEPS, seed=seed, progress=False).state
    start = source(rng, TEST_POINTS).astype(np.float32)
    path = np.asarray(jax.jit(learner.predict)(state, {"noise": start})["path"]).swapaxes(0, 1)
    return wasserstein(path[-1], target(rng, TEST_POINTS)), path_energy(path)


def _distance(source: Draw, target: Draw, transported: bool, seed: int) -> float:
    return _measure(source, target, transported, seed)[0]


def _energy(transported: bool, seed: int) -> float:
    return _measure(_wide_moons, _wide_gaussians, transported, seed)[1]


TABLES = (
    Table(
        key="flow-matching-plane",
        paper="Shi et al. 2023, Diffusion Schrödinger bridge matching",
        place="Table 2, rows of conditional flow matching, W2",
        source="arXiv 2303.16852 as quoted by notes on it; data and network of atong01/conditional-flow-matching "
        "runner/@7ae119f, whose runs the table compares",
        setting="2-Wasserstein distance to the target after 20 Euler steps, five seeds. 10,000 training "
        "points, three SELU layers of 64, AdamW 1e-3, paths blurred by 0.1; OT-CFM couples each batch by optimal "
        "transport.",
        metric="2-Wasserstein distance",
        better="lower",
        margin=0.06,
        runs=(
            Run("OT-CFM, moons", functools.partial(_distance, _normal, _moons, True), 0.111, seeds=(0,)),
            Run("OT-CFM, S curve", functools.partial(_distance, _normal, _s_curve, True), 0.102, seeds=(0,)),
            Run(
                "OT-CFM, 8 Gaussians", functools.partial(_distance, _normal, _eight_gaussians, True), 0.253, seeds=(0,)
            ),
            Run("CFM, moons", functools.partial(_distance, _normal, _moons, False), 0.215, 0.028, seeds=(0,)),
            Run(
                "OT-CFM, moons to 8 Gaussians",
                functools.partial(_distance, _wide_moons, _wide_gaussians, True),
                0.716,
                0.187,
                seeds=(0,),
            ),
        ),
        differs="5,000 steps of 128 pairs in place of 20,000 of 512; couplings are drawn once, for 32,000 pairs. The "
        "copies give neither the data's scale nor the number of test points of this table: the scale is the "
        "repository's, and so are the 1,000 points.",
        verdict="None is met: ours are 1.6 to 2.4 times the paper's. For 8 Gaussians the test points are too few: two "
        "samples of 1,000 from one target lie about 0.4 and, in the wide case, 1.5 from each other, more than the "
        "paper's flows do. For moons and the S curve (0.07 and 0.14) a quarter of the steps may be the reason. OT-CFM "
        "is nearer than CFM, as there.",
    ),
    Table(
        key="flow-matching-energy",
        paper="Shi et al. 2023, Diffusion Schrödinger bridge matching",
        place="Table 2, path energy from moons to 8 Gaussians",
        source="arXiv 2303.16852 as quoted by notes on it",
        setting="Integral of the squared velocity over the path, mean over test points; the rest as the table of W2.",
        metric="path energy",
        better="neither",
        margin=2.0,
        runs=(
            Run("CFM", functools.partial(_energy, False), 116.5, 2.633, seeds=(0,)),
            Run("OT-CFM", functools.partial(_energy, True), 30.50, 0.626, seeds=(0,)),
        ),
        differs="as in the table of W2.",
        verdict="OT-CFM is met; CFM takes 15 % less energy than in the paper, and more than three times that of "
        "OT-CFM, as there.",
    ),
)
