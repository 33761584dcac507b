"""Meshes and rules on eight virtual devices: where each leaf goes, and that it does not change what is learnt."""

import logging

import absl.logging
import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from dlcore.classification import supervised
from dlcore.cost.collectives import by_kind, collectives
from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.learner import Learner, State, Sum, mask_of
from dlcore.models import create_model
from dlcore.models.gpt2 import GPT2
from dlcore.optim import track_parameter_ema
from dlcore.run import Placement, fit, make_mesh
from dlcore.run.evaluate import Evaluation
from dlcore.run.sharding import RULES, batch_shardings, leaf_paths, path_of, put_batch, sharding_of, state_shardings
from dlcore.run.step import Program
from dlcore.sequence import language_model

# Meshes


def test_all_devices_are_on_data_by_default():
    for spec in (None, ""):
        assert dict(make_mesh(spec).shape) == {"data": 8}
    assert dict(make_mesh("data:4,model:2").shape) == {"data": 4, "model": 2}
    assert dict(make_mesh(" data : 2 , model : 4 ").shape) == {"data": 2, "model": 4}
    assert dict(make_mesh("model:8").shape) == {"data": 1, "model": 8}
    assert dict(make_mesh("data:2", jax.devices()[:2]).shape) == {"data": 2}
    assert list(make_mesh("data:2", jax.devices()[6:]).devices.flat) == jax.devices()[6:]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("data:3", r"mesh='data:3': asks for 3 devices; allowed: the 8 of this machine \(cpu\)"),
        ("data:4,model:4", r"asks for 16 devices; allowed: the 8"),
        ("data:0,model:8", r"asks for 0 devices"),
        ("eight", r"mesh='eight': malformed; allowed: data:4 or data:4,model:2"),
        ("batch:8", r"unknown axis 'batch'; allowed: 'data', 'model' and 'spatial'"),
        ("data:-8", r"mesh='data:-8'"),
        ("data:2,data:8", r"mesh='data:2,data:8'"),
    ],
)
def test_a_mesh_that_cannot_be(spec, message):
    with pytest.raises(ValueError, match=message):
        make_mesh(spec)


# Rules

KERNEL, BIAS, SMALL = (64, 32), (32,), (8, 8)


def parameters():
    return {
        "Dense_0": {"kernel": jnp.zeros((64, 32)), "bias": jnp.zeros(32)},
        "Block_0": {"Dense_0": {"kernel": jnp.zeros((48, 40))}},
        "small": {"kernel": jnp.zeros((8, 8))},
        "odd": {"kernel": jnp.zeros((45, 33))},
        "conv": {"kernel": jnp.zeros((3, 3, 16, 24))},
        "wide": {"bias": jnp.zeros(2048)},
    }


def state_of(tx=None, **extra):
    """An abstract State around the parameters above."""

    @struct.dataclass
    class Extra(State):
        more: dict

    def init():
        params = parameters()
        opt_state = () if tx is None else tx.init(params)
        return Extra(jnp.int32(0), jax.random.key(0), params, opt_state, extra)

    return jax.eval_shape(init)


def specs(rule, mesh, tx=None, batched=(), **extra):
    shardings = state_shardings(state_of(tx, **extra), make_mesh(mesh), rule, batched)
    return {path: leaf.spec for path, leaf in leaf_paths(shardings)}


def test_replicate():
    assert set(specs("replicate", "data:8", optax.adam(0.1)).values()) == {P()}


def test_fsdp_splits_the_largest_axis_that_divides():
    got = specs("fsdp", "data:8")
    assert got["params/Dense_0/kernel"] == P("data", None)
    assert got["params/Block_0/Dense_0/kernel"] == P("data", None)
    assert got["params/conv/kernel"] == P(None, None, None, "data")
    assert got["params/wide/bias"] == P("data")
    assert got["params/Dense_0/bias"] == P(), "32 numbers are not worth moving"
    assert got["params/small/kernel"] == P()
    assert got["params/odd/kernel"] == P(), "45 and 33 do not divide by 8"
    assert got["step"] == got["rng"] == P()


def test_zero1_splits_the_optimizers_state_alone():
    """Adam's moments of a matrix are split as fsdp splits them, those of a vector and a teacher are not."""
    got = specs("zero1", "data:8", optax.adam(0.1), teacher=state_of(None).params)
    split = specs("fsdp", "data:8", optax.adam(0.1))
    assert {spec for path, spec in got.items() if not path.startswith("opt_state")} == {P()}
    memories = [path for path in got if path.startswith("opt_state")]
    assert [got[path] for path in memories] == [P() if "bias" in path else split[path] for path in memories]
    assert got["opt_state/0/mu/Dense_0/kernel"] == P("data", None)


def test_tensor_splits_output_features_over_model():
    got = specs("tensor", "data:2,model:4")
    assert got["params/Dense_0/kernel"] == P(None, "model")
    assert got["params/conv/kernel"] == P(None, None, None, "model")
    assert got["params/odd/kernel"] == P()
    assert got["params/small/kernel"] == P()
    assert got["params/wide/bias"] == P(), "a bias has no output axis of its own"


def test_the_axis_of_stacked_blocks_is_not_split():
    """A stack of 1024 blocks is split as each block is, and its biases stay whole."""
    mesh = make_mesh("data:2,model:4")
    split = {name: rule("params/blocks/mlp/fc1/kernel", (1024, 64, 256), mesh) for name, rule in RULES.items()}
    assert split == {
        "replicate": P(None),
        "zero1": P(None),
        "fsdp": P(None, None, "data"),
        "tensor": P(None, None, "model"),
        "fsdp+tensor": P(None, "data", "model"),
    }
    assert RULES["tensor"]("params/blocks/norm1/scale", (1024, 256), mesh) == P(None)


def test_tensor_splits_the_second_of_a_pair_by_its_inputs():
    mesh, rule = make_mesh("data:2,model:4"), RULES["tensor"]
    assert rule("params/blocks_0/attn/proj/kernel", (64, 64), mesh) == P("model", None)
    assert rule("params/blocks_0/mlp/fc2/kernel", (256, 62), mesh) == P("model", None)
    assert rule("params/blocks_0/mlp/fc2/kernel", (255, 64), mesh) == P(), "255 inputs do not divide"
    assert rule("params/blocks_0/mlp/fc1/kernel", (64, 256), mesh) == P(None, "model")
    assert rule("params/patch_embed/kernel", (4, 4, 16, 64), mesh) == P()
    assert RULES["fsdp+tensor"]("params/b/mlp/fc2/kernel", (256, 64), mesh) == P("model", "data")


def compiled_step(name, fields, shape, mesh, rule):
    """(parameters after two steps of SGD, the text of the program, bytes of temporaries of a device)."""
    learner = supervised.learner(model=create_model(name, num_classes=10, **fields), optimizer=optax.sgd(0.1))
    rng = np.random.default_rng(0)
    batch = {"image": rng.normal(size=(8, *shape)).astype(np.float32), "label": np.arange(8), "index": np.arange(8)}
    return two_steps(learner, batch, mesh, rule)


def two_steps(learner, batch, mesh, rule):
    devices = int(np.prod([int(part.split(":")[1]) for part in mesh.split(",")]))
    program = Program(learner, batch, Placement(make_mesh(mesh, jax.devices()[:devices]), rule), 0)
    carry = program.init(batch)
    program.compile()
    for _ in range(2):
        carry = program.step(carry, program.put(batch))
    memory = program.compiled.memory_analysis().temp_size_in_bytes
    return jax.device_get(carry.state.params), program.compiled.as_text(), memory


def assert_close(left, right, scale=1e-6):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=scale * max(1.0, np.abs(a).max()))


@pytest.mark.weekly
def test_bands_of_an_image_meet_their_neighbours():
    """Rows over `spatial`: the same step, with rows exchanged at the edges and less memory a device."""
    cases = [("resnet8_cifar", {}, (16, 16, 3)), ("vit_tiny_cifar", VIT, (32, 32, 3))]
    for name, fields, shape in cases:
        want, _, whole = compiled_step(name, fields, shape, "data:1", "replicate")
        have, text, part = compiled_step(name, fields, shape, "data:1,spatial:4", "replicate")
        assert_close(want, have)
        assert "collective-permute" in text or "all-gather" in text
        assert part < 0.6 * whole


@pytest.mark.weekly
def test_a_long_sequence_is_split_over_devices():
    """Tokens over `spatial`: the same step, with keys and values gathered and less memory a device."""
    model = GPT2(vocab_size=61, window=256, num_layers=1, num_heads=2, width=32)
    learner = language_model.learner(model=model, optimizer=optax.sgd(0.1))
    text = np.random.default_rng(0).integers(0, 61, (2, 400)).astype(np.uint16)
    batch = {"text": text, "index": np.arange(2)}
    want, _, whole = two_steps(learner, batch, "data:1", "replicate")
    have, text, part = two_steps(learner, batch, "data:1,spatial:4", "replicate")
    assert_close(want, have)
    assert "all-gather" in text
    assert part < 0.6 * whole


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "vit"])
def test_fsdp_gathers_parameters_and_not_the_batch(name):
    """Each parameter is gathered once and its gradient summed once; left to itself, XLA gathers 15 times as much.

    Its own choice is to split features where kernels are split, for which it gathers the features of the whole batch.
    """
    rng = np.random.default_rng(0)
    if name == "gpt2":
        model = GPT2(vocab_size=1001, window=32, num_layers=2, num_heads=4, width=64)
        learner = language_model.learner(model=model, optimizer=optax.sgd(0.1))
        batch = {"text": rng.integers(0, 1001, (64, 33)).astype(np.uint16), "index": np.arange(64)}
    else:
        model = create_model("vit_tiny_cifar", depth=2)
        learner = supervised.learner(model=model, optimizer=optax.sgd(0.1))
        image = rng.normal(size=(64, 32, 32, 3)).astype(np.float32)
        batch = {"image": image, "label": np.arange(64) % 10, "index": np.arange(64)}
    want, _, whole = two_steps(learner, batch, "data:1", "replicate")
    have, text, part = two_steps(learner, batch, "data:8", "fsdp")
    assert_close(want, have)
    size = 4 * sum(leaf.size for leaf in jax.tree.leaves(want))
    sent = {kind: total for kind, (_, total, _) in by_kind(collectives(text)).items()}
    assert sent["all-gather"] <= 1.1 * size, (size, sent)
    assert sum(sent.values()) <= 3 * size, (size, sent)
    assert part < 0.25 * whole, (part, whole)


@pytest.mark.slow
def test_training_evaluation_and_prediction_know_the_mesh():
    """What `split_batch` asks for."""
    seen = []

    def look(state, batch):
        seen.append(jax.sharding.get_abstract_mesh().axis_names)
        return {"x": Sum.of(batch["index"] * 1.0, mask_of(batch))}

    learner = Learner(
        lambda rng, batch: State(jnp.zeros((), jnp.int32), rng, {}, {}),
        lambda state, batch: (state.replace(step=state.step + 1), look(state, batch)),
        look,
        lambda state, batch: {"x": look(state, batch)["x"].total * batch["index"]},
    )
    batch = {"index": np.arange(8), "mask": np.ones(8, np.float32)}
    placement = Placement(make_mesh("data:8"), "fsdp")
    program = Program(learner, batch, placement, 0)
    state = program.init(batch).state
    program.compile()
    assert seen[-1] == ("data",)
    for run in (Evaluation(learner, placement).metrics, Evaluation(learner, placement).outputs):
        seen.clear()
        run(state, [batch, batch])
        assert set(seen) == {("data",)}


VIT = {"image_size": 32, "width": 64, "depth": 1, "num_heads": 4, "mlp_features": 128}


@pytest.mark.weekly
def test_heads_and_features_over_model():
    want, _, _ = compiled_step("vit_tiny_cifar", VIT, (32, 32, 3), "data:1", "replicate")
    have, text, _ = compiled_step("vit_tiny_cifar", VIT, (32, 32, 3), "data:2,model:2", "fsdp+tensor")
    assert_close(want, have)
    assert "all-reduce" in text


@pytest.mark.covers("SY-02")
def test_the_towers_of_alexnet_on_two_devices_give_what_one_device_gives():
    model = create_model("alexnet_two_tower", num_classes=4, widths=(8, 16, 16, 16, 16), hidden=16, dropout=0.0)
    rng, mesh = np.random.default_rng(1), make_mesh("data:1,model:2", jax.devices()[:2])
    x = rng.normal(size=(1, 67, 67, 3)).astype(np.float32)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x))["params"]
    params = jax.tree.map(lambda s: rng.normal(0, 0.1, s.shape).astype(np.float32), shapes)
    placed = jax.device_put(params, state_shardings({"params": shapes}, mesh, "tensor")["params"])
    for index in (0, 3, 6, 8, 10):
        kernel = placed[f"features_{index}"]["kernel"]
        assert kernel.addressable_shards[0].data.shape[-1] == kernel.shape[-1] // 2, "half of the kernels on each"
    apply = jax.jit(lambda params: model.apply({"params": params}, x))
    np.testing.assert_allclose(apply(placed), apply(params), rtol=1e-4, atol=1e-5)


@pytest.mark.weekly
@pytest.mark.covers("SY-02")
def test_alexnet_on_two_devices_as_in_2012():
    """Two towers, a device each: the layers of two groups (2, 4 and 5) need nothing of the other device."""
    fields = {"widths": (16, 32, 48, 48, 32), "hidden": 64, "towers": 2, "dropout": 0.0}
    want, _, _ = compiled_step("alexnet_two_tower", fields, (67, 67, 3), "data:1", "replicate")
    have, _, _ = compiled_step("alexnet_two_tower", fields, (67, 67, 3), "data:1,model:2", "tensor")
    assert_close(want, have)
    model = create_model("alexnet_two_tower", num_classes=10, **fields)
    mesh = make_mesh("data:1,model:2", jax.devices()[:2])
    x = np.random.default_rng(1).normal(size=(2, 67, 67, 3)).astype(np.float32)
    params = jax.device_get(model.init(jax.random.key(0), x))["params"]
    placed = jax.device_put(
        params,
        jax.tree_util.tree_map_with_path(
            lambda path, leaf: NamedSharding(mesh, RULES["tensor"](f"params/{path_of(path)}", leaf.shape, mesh)), params
        ),
    )
    for index in (0, 3, 6, 8, 10):
        kernel = placed[f"features_{index}"]["kernel"]
        assert kernel.addressable_shards[0].data.shape[-1] == kernel.shape[-1] // 2, "half of the kernels on each"
    np.testing.assert_allclose(
        jax.jit(model.apply)({"params": placed}, x), model.apply({"params": params}, x), rtol=1e-4, atol=1e-5
    )


def test_fsdp_and_tensor_split_two_axes():
    got = specs("fsdp+tensor", "data:2,model:4")
    assert got["params/Dense_0/kernel"] == P("data", "model")
    assert got["params/conv/kernel"] == P(None, None, "data", "model")
    assert got["params/wide/bias"] == P("data")
    assert got["params/odd/kernel"] in (P(), P(None, None))
    assert got["params/Dense_0/bias"] in (P(), P(None))


def test_a_rule_of_ones_own_gets_path_shape_and_mesh():
    seen = []

    def rule(path, shape, mesh):
        seen.append((path, shape, dict(mesh.shape)))
        return P("data") if path == "params/wide/bias" else P()

    got = specs(rule, "data:8", optax.sgd(0.1, momentum=0.9))
    assert got["params/wide/bias"] == P("data")
    assert got["opt_state/0/trace/wide/bias"] == P("data")
    assert got["params/Dense_0/kernel"] == P()
    assert ("params/Dense_0/kernel", (64, 32), {"data": 8}) in seen
    assert {path.split("/")[0] for path, *_ in seen} == {"params"}


@pytest.mark.parametrize(
    ("tx", "memories"),
    [
        (optax.adam(0.1), ["opt_state/0/mu/", "opt_state/0/nu/"]),
        (optax.sgd(0.1, momentum=0.9), ["opt_state/0/trace/"]),
        (
            optax.MultiSteps(optax.adam(0.1), 2).gradient_transformation(),
            ["opt_state/acc_grads/", "opt_state/inner_opt_state/0/mu/", "opt_state/inner_opt_state/0/nu/"],
        ),
        (optax.chain(optax.sgd(0.1), track_parameter_ema(0.9)), ["opt_state/1/ema/"]),
    ],
    ids=["adam", "momentum", "multisteps", "ema"],
)
def test_optimiser_leaves_follow_their_parameters(tx, memories):
    got = specs("fsdp+tensor", "data:2,model:4", tx)
    wanted = {path.removeprefix("params/"): spec for path, spec in got.items() if path.startswith("params/")}
    assert len(set(wanted.values())) > 2
    for memory in memories:
        for path, spec in wanted.items():
            assert got[memory + path] == spec, memory + path
    for path, spec in got.items():
        if path.endswith(("count", "mini_step", "gradient_step")):
            assert spec == P()


def test_the_longest_path_wins():
    """`Block_0/Dense_0/kernel` ends in `Dense_0/kernel` too; here both have one shape and different specs."""

    @struct.dataclass
    class Twins(State):
        teacher: dict

    def init():
        params = {"Dense_0": {"kernel": jnp.zeros((64, 32))}, "Block_0": {"Dense_0": {"kernel": jnp.zeros((64, 32))}}}
        return Twins(jnp.int32(0), jax.random.key(0), params, optax.adam(0.1).init(params), teacher=params)

    def rule(path, shape, mesh):
        return P("data") if path == "params/Block_0/Dense_0/kernel" else P(None, "data")

    shardings = state_shardings(jax.eval_shape(init), make_mesh(), rule)
    for path, leaf in leaf_paths(shardings):
        if path.endswith("Block_0/Dense_0/kernel"):
            assert leaf.spec == P("data"), path
        elif path.endswith("Dense_0/kernel"):
            assert leaf.spec == P(None, "data"), path


def test_same_path_and_another_shape_is_replicated():
    """Adafactor keeps rows and columns under the parameters' paths, L-BFGS a stack of them."""
    got = specs("fsdp", "data:8", optax.adafactor(0.1, min_dim_size_to_factor=16))
    state = dict(leaf_paths(state_of(optax.adafactor(0.1, min_dim_size_to_factor=16))))
    rows = [path for path in got if "v_row/" in path or "v_col/" in path]
    assert any(state[path].shape == (64,) for path in rows)
    for path, spec in got.items():
        if path.startswith("opt_state") and spec != P():
            assert any(
                path.endswith(p.removeprefix("params/")) and state[p].shape == state[path].shape
                for p in got
                if p.startswith("params/")
            ), path
    assert all(got[path] == P() for path in rows)
    got = specs("fsdp", "data:8", optax.lbfgs(memory_size=10))
    state = dict(leaf_paths(state_of(optax.lbfgs(memory_size=10))))
    stacks = [path for path, leaf in state.items() if leaf.shape == (10, 64, 32)]
    assert len(stacks) == 2
    assert all(got[path] == P() for path in stacks)
    single = [p for p, leaf in state.items() if p.startswith("opt_state") and leaf.shape == (64, 32)]
    assert single
    assert all(got[path] == P("data", None) for path in single)


def test_teachers_follow_too_and_strangers_do_not():
    got = specs("fsdp", "data:8", teacher={"Dense_0": {"kernel": jnp.zeros((64, 32))}}, queue=jnp.zeros((64, 32)))
    assert got["more/teacher/Dense_0/kernel"] == P("data", None)
    assert got["more/queue"] == P()


def test_batched_leaves_are_split_over_data():
    got = specs(
        "replicate",
        "data:4,model:2",
        batched=("more/env/*", "more/carry"),
        env={"x": jnp.zeros((8, 3))},
        carry=jnp.zeros(12),
        other=jnp.zeros(8),
    )
    assert got["more/env/x"] == got["more/carry"] == P("data")
    assert got["more/other"] == P()


def test_batched_leaves_that_do_not_divide_are_replicated_and_said(caplog):
    with caplog.at_level(logging.INFO):
        got = specs("replicate", "data:8", batched=("more/carry",), carry=jnp.zeros(10))
    assert got["more/carry"] == P()
    assert "state leaf more/carry (10,) does not divide over 8 devices: replicated" in caplog.text


def test_rules_that_cannot_be():
    with pytest.raises(ValueError, match=r"sharding='zero3': unknown; allowed: replicate, zero1, fsdp, tensor"):
        specs("zero3", "data:8")
    for rule in ("tensor", "fsdp+tensor"):
        with pytest.raises(ValueError, match=r"the mesh has no axis 'model'; allowed: a mesh such as data:4,model:2"):
            specs(rule, "data:8")
    assert set(RULES) == {"replicate", "zero1", "fsdp", "tensor", "fsdp+tensor"}


# Batches


@pytest.fixture(autouse=True)
def fresh_counts(monkeypatch):
    """absl counts what it has said in this process; other tests' batches must not use that up."""
    monkeypatch.setattr(absl.logging, "_log_counter_per_token", {})


def test_batches_are_split_over_data_and_what_does_not_divide_is_replicated_and_said(caplog):
    batch = {"x": np.zeros((16, 3)), "style": np.zeros((1, 4)), "index": np.arange(16)}
    with caplog.at_level(logging.INFO):
        shardings = batch_shardings(batch, make_mesh("data:4,model:2"))
    assert shardings["x"].spec == shardings["index"].spec == P("data")
    assert shardings["style"].spec == P()
    lines = [r for r in caplog.records if "style" in r.getMessage()]
    assert lines
    assert "does not divide over 4 devices: replicated" in lines[0].getMessage()
    assert lines[0].levelno == logging.INFO, "one row is for all examples"
    placed = put_batch(batch, shardings)
    chex.assert_shape(placed["x"].addressable_shards[0].data, (4, 3))
    np.testing.assert_array_equal(placed["index"], np.arange(16))


def test_a_batch_that_is_replicated_as_a_whole_is_said_where_people_look(caplog):
    """Every device would do all the work: that is for the screen, not for a debug log."""
    with caplog.at_level(logging.INFO):
        batch_shardings({"rows": np.zeros((30, 3)), "index": np.arange(30)}, make_mesh())
    assert [r for r in caplog.records if "rows" in r.getMessage() and r.levelno >= logging.WARNING]


# What is learnt


def classifier():
    tx = optax.sgd(0.1, momentum=0.9)

    def forward(params, x):
        return jnp.tanh(x @ params["first"]["kernel"] + params["first"]["bias"]) @ params["second"]["kernel"]

    def losses(params, batch):
        return optax.softmax_cross_entropy_with_integer_labels(forward(params, batch["x"]), batch["label"])

    def init(rng, batch):
        first, second = jax.random.split(rng)
        params = {
            "first": {"kernel": jax.random.normal(first, (16, 64)) * 0.2, "bias": jnp.zeros(64)},
            "second": {"kernel": jax.random.normal(second, (64, 32)) * 0.2},
        }
        return State(jnp.int32(0), rng, params, tx.init(params))

    def update(state, batch):
        gradient = jax.grad(lambda p: losses(p, batch).mean())(state.params)
        updates, opt_state = tx.update(gradient, state.opt_state, state.params)
        metrics = {"loss": Sum.of(losses(state.params, batch))}
        params = optax.apply_updates(state.params, updates)
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state), metrics

    def evaluate(state, batch):
        return {"loss": Sum.of(losses(state.params, batch), mask_of(batch))}

    return Learner(init, update, evaluate, lambda s, b: forward(s.params, b["x"]))


def source(n=64):
    rng = np.random.default_rng(0)
    return Source({"x": rng.normal(size=(n, 16)).astype(np.float32), "label": rng.integers(0, 32, n).astype(np.int32)})


@pytest.fixture(scope="module")
def replicated():
    return fit(classifier(), Pipeline(source(), 16), steps=4, valid=source(30), progress=False)


@pytest.mark.slow
@pytest.mark.weekly(only=["data:8-fsdp-*"])
@pytest.mark.parametrize(
    ("mesh", "rule", "shard", "memory"),
    [
        ("data:8", "zero1", (16, 64), (16, 8)),
        ("data:8", "fsdp", (16, 8), (16, 8)),
        ("data:2,model:4", "tensor", (16, 16), (16, 16)),
        ("data:4,model:2", "fsdp+tensor", (4, 32), (4, 32)),
    ],
)
def test_rules_change_where_and_not_what(mesh, rule, shard, memory, replicated):
    result = fit(
        classifier(),
        Pipeline(source(), 16),
        steps=4,
        valid=source(30),
        progress=False,
        placement=Placement(make_mesh(mesh), rule),
    )
    kernel = result.state.params["first"]["kernel"]
    momentum = result.state.opt_state[0].trace["first"]["kernel"]
    assert kernel.addressable_shards[0].data.shape == shard
    assert momentum.addressable_shards[0].data.shape == memory
    for (path, a), (_, b) in zip(leaf_paths(result.state.params), leaf_paths(replicated.state.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6, err_msg=path)
    for ours, theirs in zip(result.history, replicated.history, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-6)


@pytest.mark.several_devices
def test_rows_of_images_and_of_clips_are_split_where_they_divide():
    """Of a mesh with four bands: rows stand third from the end, after the times of a clip."""
    batch = {"image": (2, 8, 5, 3), "odd": (2, 6, 8, 3), "clip": (2, 3, 8, 5, 3), "text": (2, 8, 4)}
    arrays = {name: np.zeros(shape, np.uint8) for name, shape in batch.items()}
    specs = {
        name: s.spec for name, s in batch_shardings(arrays, make_mesh("data:2,spatial:4", jax.devices()[:8])).items()
    }
    rows = {"image": ("data", "spatial"), "odd": ("data",), "clip": ("data", None, "spatial"), "text": ("data",)}
    assert {name: tuple(spec) for name, spec in specs.items()} == rows
    plain = batch_shardings(arrays, make_mesh("data:2", jax.devices()[:2]))
    assert {tuple(sharding.spec) for sharding in plain.values()} == {("data",)}


def test_every_process_of_several_has_its_own_examples():
    """Three rows of each of two processes are six, which do not divide over four devices; two are four."""
    mesh = make_mesh("data:4", jax.devices()[:4])
    split = batch_shardings({"x": np.zeros((2, 3))}, mesh, processes=2)
    assert split["x"].spec == P("data")
    message = (
        r"batch leaf y/x \(3, 3\) of each of 2 processes does not divide over the 4 devices of the mesh; allowed: "
    )
    with pytest.raises(ValueError, match=message):
        batch_shardings({"y": {"x": np.zeros((3, 3))}}, mesh, processes=2)
    with pytest.raises(ValueError, match=r"batch leaf x \(\) of each of 2 processes"):
        batch_shardings({"x": np.zeros(())}, mesh, processes=2)


def test_published_parameters_are_placed_by_their_path():
    place = sharding_of(make_mesh("data:8"))
    assert place("params/a/kernel", (64, 32)).spec == P("data", None)
    assert place("params/a/kernel", (32, 31)).spec == P(), "992 numbers are few"
    assert place("params/a/kernel", (32, 32)).spec == P("data", None), "1024 are not"
    assert place("batch_stats/a/mean", (64, 32)).spec == P()
    assert sharding_of(make_mesh("data:8"), lambda *rest: P(None, "data"))("params/x", (1, 8)).spec == P(None, "data")
    with pytest.raises(ValueError, match="sharding='zero3': unknown"):
        sharding_of(make_mesh("data:8"), "zero3")


def test_rows_that_must_divide_are_named_where_they_do_not():
    abstract = state_of(carry=jnp.zeros(10))
    with pytest.raises(ValueError, match=r"more/carry has 10 rows, which do not divide over 8 devices; allowed: a mul"):
        state_shardings(abstract, make_mesh(), batched=("more/carry",), must_divide=True)
