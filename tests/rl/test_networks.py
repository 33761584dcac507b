"""Shapes and first outputs of the networks over observations."""

from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from dlcore.nn.recurrent_cells import lstm_cell
from dlcore.rl import networks
from dlcore.rl.networks import ActorCritic, QNetwork, Torso, lstm_sequence


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(4,), (10, 10, 4)])
def test_shapes(shape):
    x = jnp.ones((3, *shape), jnp.float32)
    policy, value = ActorCritic(5).init_with_output(jax.random.key(0), x)[0]
    chex.assert_shape((policy.logits, value), ((3, 5), (3,)))
    chex.assert_shape(QNetwork(5).init_with_output(jax.random.key(0), x)[0], (3, 5))


def test_first_weights_have_the_gains_of_each_layer(monkeypatch):
    """The gain, which fills each kernel, is sqrt(2) before an activation, 1 before values and .01 before policies.

    Vectors sum to 1/2: with 3 units, relu gives h_1 = sqrt(2) / 2 and h_2 = 3 sqrt(2) h_1 = 3, tanh gives g. Boards of
    4 x 5 x 2 become 2 x 3 x 16 = 96 numbers of relu(sqrt(2) 18 c), then tanh(sqrt(2) 96 sqrt(2) 18 c) = tanh(3456 c).
    """
    monkeypatch.setattr(networks, "orthogonal", lambda gain: lambda key, shape, dtype: jnp.full(shape, gain, dtype))
    root = np.sqrt(2)
    g = np.tanh(3 * root * np.tanh(root / 2))

    @jax.jit
    def first(x, boards):
        def of(network, *inputs):
            return network.init_with_output(jax.random.key(0), *inputs)[0]

        return {
            "torso": of(Torso(3), boards),
            "actor critic": of(ActorCritic(5, 3), x),
            "gaussian": of(networks.GaussianActorCritic(5, 3), x),
            "actor": of(networks.CategoricalActor(5, 3), x).logits,
            "squashed": of(networks.SquashedActor(5, 3), x),
            "values": of(QNetwork(5, 3), x),
            "twins": of(networks.TwinCritic(1, 3, 4), x, jnp.full((2, 1), 0.25)),
        }

    found = first(
        jnp.tile(jnp.array([0.75, -0.25]), (2, 1)), jnp.array([1, -1]).reshape(2, 1, 1, 1) * np.ones((4, 5, 2)) / 6912
    )
    np.testing.assert_allclose(found["torso"], [[np.tanh(0.5)] * 3, [0] * 3], rtol=1e-4)
    for name in ("actor critic", "gaussian"):
        policy, value = found[name]
        np.testing.assert_allclose(policy.mode() if name == "gaussian" else policy.logits, 0.03 * g, rtol=1e-4)
        np.testing.assert_allclose(value, 3 * g, rtol=1e-4)
    np.testing.assert_array_equal(found["gaussian"][0].log_std, np.zeros((2, 5)))
    np.testing.assert_allclose(found["actor"], np.full((2, 5), 0.01 * 3 * 3), rtol=1e-4)
    np.testing.assert_allclose([found["squashed"].mean, found["squashed"].log_std], np.full((2, 2, 5), 0.09), rtol=1e-4)
    np.testing.assert_allclose(found["values"], np.full((2, 5), 3 * 3), rtol=1e-4)
    # With the action the sum is 3/4: 3 * 4.5.
    np.testing.assert_allclose(found["twins"], np.full((4, 2), 13.5), rtol=1e-4)


def test_the_deviation_of_a_squashed_policy_is_bounded():
    heads = {"mean": {"kernel": np.zeros((3, 2)), "bias": np.float32([9, 0.5])}}
    heads["log_std"] = {"kernel": np.zeros((3, 2)), "bias": np.float32([9, -9])}
    torso = {f"dense{i}": {"kernel": np.zeros((n, 3)), "bias": np.zeros(3)} for i, n in ((1, 4), (2, 3))}
    policy = networks.SquashedActor(2, 3).apply({"params": {**heads, "torso": torso}}, jnp.zeros((1, 4)))
    np.testing.assert_array_equal(policy.log_std, [[2, -5]])
    np.testing.assert_array_equal(policy.mean, np.float32([[9, 0.5]]))


def test_parameters_stand_under_their_names():
    """Two observed numbers, torsos of three units, five actions; twins stand beside each other on a first axis."""

    def kernels(network, *inputs):
        params = jax.eval_shape(network.init, jax.random.key(0), *inputs)["params"]
        named = {"/".join(path): leaf.shape for path, leaf in flatten_dict(params).items()}
        return {path.removesuffix("/kernel"): shape for path, shape in named.items() if not path.endswith("bias")}

    x = jnp.zeros((4, 2))
    torso = {"torso/dense1": (2, 3), "torso/dense2": (3, 3)}
    both = {f"{name}_{path}": shape for name in ("actor", "critic") for path, shape in torso.items()}
    both |= {"actor": (3, 5), "critic": (3, 1)}
    assert kernels(ActorCritic(5, 3), x) == both
    assert kernels(networks.GaussianActorCritic(5, 3), x) == both | {"log_std": (5,)}
    assert kernels(networks.CategoricalActor(5, 3), x) == torso | {"logits": (3, 5)}
    assert kernels(networks.SquashedActor(5, 3), x) == torso | {"mean": (3, 5), "log_std": (3, 5)}
    values = torso | {"head": (3, 5)}
    assert kernels(QNetwork(5, 3), x) == values
    assert kernels(networks.TwinCritic(5, 3, 4), x) == {f"networks/{k}": (4, *shape) for k, shape in values.items()}
    assert kernels(networks.RecurrentActorCritic(5, 0, 3), [jnp.zeros((4, 3))] * 2, x) == {
        "encoder": (2, 3), "gates": (3, 12), "hidden_kernel": (3, 12), "actor": (3, 5), "critic": (3, 1)
    }  # fmt: skip


def test_networks_fit_the_actions_of_their_environment():
    few = SimpleNamespace(num_actions=3, action_size=0)
    vectors = SimpleNamespace(num_actions=None, action_size=2)
    assert networks.actor_critic(few, 5) == ActorCritic(3, 5)
    assert networks.actor_critic(vectors, 5) == networks.GaussianActorCritic(2, 5)
    assert networks.q_network(few, 5) == QNetwork(3, 5)
    for environment in (few, vectors):
        fields = environment.num_actions, environment.action_size, 5
        assert networks.actor_twin_critic(environment, 5) == networks.ActorTwinCritic(*fields)
        assert networks.recurrent_actor_critic(environment, 5) == networks.RecurrentActorCritic(*fields)
    x, key = jnp.zeros((4, 6)), jax.random.key(0)
    discrete, continuous = (
        jax.eval_shape(lambda key, net=networks.actor_twin_critic(e, 5): net.init_with_output(key, x)[0], key)
        for e in (few, vectors)
    )
    assert (discrete[0].logits.shape, discrete[1].shape) == ((4, 3), (2, 4, 3))
    assert (continuous[0].mean.shape, continuous[1].shape) == ((4, 2), (2, 4))


@pytest.mark.slow
def test_the_first_policy_is_nearly_uniform():
    x = jax.random.normal(jax.random.key(1), (64, 4))
    (policy, _), _ = ActorCritic(3).init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(jax.nn.softmax(policy.logits), 1 / 3, atol=0.02)


@pytest.mark.slow
def test_vectors_go_through_two_dense_layers():
    x = jax.random.normal(jax.random.key(1), (3, 4))
    out, variables = Torso(5).init_with_output(jax.random.key(0), x)
    params = variables["params"]
    assert set(params) == {"dense1", "dense2"}
    hidden = jnp.tanh(x @ params["dense1"]["kernel"])
    np.testing.assert_allclose(out, jnp.tanh(hidden @ params["dense2"]["kernel"]), rtol=1e-5)


@pytest.mark.slow
def test_images_go_through_a_convolution_and_one_dense_layer():
    x = jax.random.normal(jax.random.key(1), (3, 5, 6, 2))
    out, variables = Torso(5).init_with_output(jax.random.key(0), x)
    params = variables["params"]
    assert {name: leaf["kernel"].shape for name, leaf in params.items()} == {
        "conv": (3, 3, 2, 16),
        "dense1": (3 * 4 * 16, 5),
    }
    maps = jax.lax.conv_general_dilated(
        x, params["conv"]["kernel"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    flat = jnp.maximum(maps, 0).reshape(3, -1)
    np.testing.assert_allclose(out, jnp.tanh(flat @ params["dense1"]["kernel"]), rtol=1e-4, atol=1e-5)


def test_gradients_of_the_lstm_s_loop_are_those_of_its_steps():
    rng = np.random.default_rng(0)
    kernel, inputs, h, c, weights = (
        rng.normal(size=size).astype(np.float32) for size in ((3, 12), (3, 2, 12), (2, 3), (2, 3), (3, 2, 3))
    )
    memory, fresh = (h, c), np.array([[False, True], [True, False], [False, False]])

    def by_steps(kernel, memory, inputs):
        hidden = []
        for a, new in zip(inputs, fresh, strict=True):
            memory = tuple(jnp.where(new[:, None], 0.0, h) for h in memory)
            memory = lstm_cell(memory, a, memory[0] @ kernel)
            hidden.append(memory[0])
        return (jnp.stack(hidden) * weights).sum() + memory[1].sum()

    def at_once(kernel, memory, inputs):
        last, hidden = lstm_sequence(kernel, memory, inputs, fresh)
        return (hidden * weights).sum() + last[1].sum()

    both = jax.jit(lambda *args: [jax.value_and_grad(f, (0, 1, 2))(*args) for f in (by_steps, at_once)])
    want, got = both(kernel, memory, inputs)
    chex.assert_trees_all_close(got, want, rtol=1e-4, atol=1e-5)


def test_a_sequence_of_vectors_is_its_steps_one_after_the_other():
    """Continuous actions have the actor's mean and a deviation of their own; a fresh memory is empty."""
    network, rng = networks.RecurrentActorCritic(None, 2, 3), np.random.default_rng(0)
    x, fresh = rng.normal(size=(2, 2, 4)).astype(np.float32), np.array([[False, False], [True, False]])
    shapes = jax.eval_shape(network.init, jax.random.key(0), network.memory(2), x[0])
    variables = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)
    start = tuple(rng.normal(size=(2, 3)).astype(np.float32) for _ in range(2))

    @jax.jit
    def run(variables):
        between, first = network.apply(variables, start, x[0])
        cleared = jax.tree.map(lambda h: jnp.where(fresh[1][:, None], 0, h), between)
        steps = first, network.apply(variables, cleared, x[1])[1]
        return steps, network.apply(variables, start, x, fresh, method="sequence")[1]

    steps, (policy, value) = jax.device_get(run(variables))
    for t, (own, own_value) in enumerate(steps):
        np.testing.assert_allclose(policy.mean[t], own.mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(value[t], own_value, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(policy.log_std, np.broadcast_to(variables["params"]["log_std"], (2, 2, 2)))
