"""LoRA, DoRA, BitFit, (IA)^3, bottleneck adapters and visual prompts: peft's numbers, starts, what learns, counts."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from dlcore.classification import supervised
from dlcore.models import create_model
from dlcore.models.torch_weights import published_names
from dlcore.transfer.adapters import IA3, Adapted, BitFit, Bottleneck, Prompts, find_targets
from dlcore.transfer.lora import PREFIX, LoRA, from_peft, read_peft, write_peft
from tests.models.parity import read_golden

FIELDS = {
    "num_classes": 5,
    "image_size": 32,
    "patch_size": 8,
    "depth": 2,
    "width": 32,
    "num_heads": 4,
    "mlp_features": 64,
    "epsilon": 1e-12,
}
METHODS = {
    "lora": LoRA(rank=4, alpha=8),
    "rslora": LoRA(rank=4, alpha=8, rank_stabilized=True),
    "dora": LoRA(rank=4, alpha=8, dora=True),
    "bitfit": BitFit(),
    "ia3": IA3(),
    "bottleneck": Bottleneck(features=3),
    "prompts": Prompts(tokens=3),
    "deep_prompts": Prompts(tokens=3, deep=True),
}
ATTENTION = [("q", "base_layer."), ("k", ""), ("v", "base_layer.")]
SAME_AT_THE_START = [name for name in METHODS if "prompts" not in name]


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, 32, 32, 3)), jnp.float32)


@pytest.fixture(scope="module")
def model():
    return create_model("vit_b_16", **FIELDS, head_init=jax.nn.initializers.normal(0.1))


@pytest.fixture(scope="module")
def variables(model, images):
    return jax.jit(model.init)(jax.random.key(0), images)


@pytest.fixture(scope="module")
def adapted(model, variables, images):
    return {
        name: Adapted(model, method).adapt(jax.random.key(1), variables, images) for name, method in METHODS.items()
    }


@pytest.mark.covers("PT-04")
def test_peft_names_the_layers_of_this_network():
    """peft's entries of a ViT, under its rule for weights: x W^T + (alpha / r) x A^T B^T of queries and values."""
    _, _, weights = read_golden("peft_lora_vit")
    lora = {name.replace(".default", ""): value for name, value in weights.items() if ".lora_" in name}
    method, new = from_peft({"r": 4, "lora_alpha": 8}, lora, published_names("vit_b_16", **FIELDS))
    assert method.targets == tuple(f"blocks_{i}/attn/qkv:{part}" for i in (0, 1) for part in "qv")
    assert len(lora) == len(jax.tree.leaves(new)) == 8
    base = f"{PREFIX}vit.layers.0.attention.v_proj"
    x = np.random.default_rng(0).normal(size=(3, 32)).astype(np.float32)
    expected = x @ weights[f"{base}.base_layer.weight"].T
    expected += 2 * (x @ weights[f"{base}.lora_A.default.weight"].T) @ weights[f"{base}.lora_B.default.weight"].T
    qkv = [weights[f"{PREFIX}vit.layers.0.attention.{part}_proj.{own}weight"].T for part, own in ATTENTION]
    params = {"blocks_0": {"attn": {"qkv": {"kernel": jnp.asarray(np.concatenate(qkv, 1))}}}}
    first = {name: value for name, value in new.items() if name.startswith("blocks_0")}
    merged = method.merge(params, first)["blocks_0"]["attn"]["qkv"]["kernel"]
    np.testing.assert_allclose(x @ merged[:, 64:], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(merged[:, 32:64], qkv[1])


@pytest.mark.slow(unless=["lora", "bottleneck"])
@pytest.mark.covers("PT-04", "PT-06")
@pytest.mark.parametrize("name", SAME_AT_THE_START)
def test_an_adapter_starts_as_the_network(name, model, variables, adapted, images):
    wrapped = Adapted(model, METHODS[name])
    outputs = jax.jit(wrapped.apply)(adapted[name], images)
    expected = jax.jit(model.apply)(variables, images)
    np.testing.assert_allclose(outputs, expected, atol=1e-6 if name == "dora" else 1e-7)


@pytest.mark.covers("PT-05", "PT-06")
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("lora", 2 * 2 * (32 * 4 + 4 * 32)),  # blocks, q and v, A and B
        ("dora", 2 * 2 * (32 * 4 + 4 * 32 + 32)),
        ("bitfit", 0),
        ("ia3", 2 * (32 + 32 + 64)),  # k, v, hidden units
        ("bottleneck", 2 * (32 * 3 + 3 + 3 * 32 + 32)),
        ("prompts", 3 * 32),
        ("deep_prompts", 2 * 3 * 32),
    ],
)
def test_new_parameters_are_counted_by_hand(name, count, adapted):
    assert sum(leaf.size for leaf in jax.tree.leaves(adapted[name]["params"]["adapter"])) == count
    trained = {"/".join(path) for path in flatten_dict(adapted[name]["params"]["trained"])}
    biases = {"/".join(path) for path in flatten_dict(adapted["lora"]["frozen"]) if path[-1] == "bias"}
    assert trained == {"head/kernel", "head/bias"} | (biases if name == "bitfit" else set())


@pytest.mark.covers("PT-04")
def test_kernels_by_hand():
    """W = [[3, 0], [4, 1]], A = [[1], [0]], B = [[0, 2]], alpha 4, r 1: W' = [[3, 8], [4, 1]]."""
    params = {"layer": {"kernel": jnp.array([[3.0, 0.0], [4.0, 1.0]])}}
    new = {"layer/kernel": {"a": jnp.array([[1.0], [0.0]]), "b": jnp.array([[0.0, 2.0]])}}
    method = LoRA(rank=1, alpha=4, targets=("layer",))
    np.testing.assert_allclose(method.merge(params, new)["layer"]["kernel"], [[3, 8], [4, 1]])
    # DoRA with m = (10, 2): columns of length 5 and sqrt(65).
    new["layer/kernel"]["m"] = jnp.array([10.0, 2.0])
    expected = [[6, 16 / 65**0.5], [8, 2 / 65**0.5]]
    np.testing.assert_allclose(method._replace(dora=True).merge(params, new)["layer"]["kernel"], expected, rtol=1e-6)
    assert LoRA(rank=4, alpha=8).scale == 2
    assert LoRA(rank=4, alpha=8, rank_stabilized=True).scale == 4


@pytest.mark.slow(unless=["lora"])
@pytest.mark.covers("PT-04", "PT-05", "PT-06")
@pytest.mark.parametrize("name", METHODS)
def test_a_learner_trains_the_adapter_and_the_head_alone(name, model, images):
    learner = supervised.learner(model=Adapted(model, METHODS[name]), optimizer=optax.adam(0.01))
    batch = {"image": images, "label": jnp.array([0, 1]), "index": jnp.arange(2)}
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    after, _ = jax.jit(lambda state: learner.update(learner.update(state, batch)[0], batch))(state)
    chex.assert_trees_all_equal(after.model_state["frozen"], state.model_state["frozen"])
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), state.params, after.params)
    assert all(jax.tree.leaves(changed["adapter"]))
    assert all(jax.tree.leaves(changed["trained"]["head"]))
    moments = sum(leaf.size for leaf in jax.tree.leaves(after.opt_state[0].mu))
    assert moments == sum(leaf.size for leaf in jax.tree.leaves(after.params))


@pytest.mark.parametrize("name", ["lora", "rslora", "dora", "ia3", "bitfit"])
def test_a_merged_network_computes_the_same(name, model, adapted, images):
    wrapped = Adapted(model, METHODS[name])
    moved = {**adapted[name], "params": jax.tree.map(lambda x: x + 0.05, adapted[name]["params"])}
    outputs = jax.jit(wrapped.apply)(moved, images)
    np.testing.assert_allclose(jax.jit(model.apply)(wrapped.merge(moved), images), outputs, rtol=1e-5, atol=1e-5)


def test_bottleneck_adapters_do_not_merge(model, adapted):
    with pytest.raises(ValueError, match=r"method=Bottleneck: stays beside the network; allowed to merge: LoRA, IA3"):
        Adapted(model, METHODS["bottleneck"]).merge(adapted["bottleneck"])


def test_peft_files_go_round(tmp_path, adapted):
    names, new = (
        published_names("vit_b_16", **FIELDS),
        jax.tree.map(lambda x: x + 1.0, adapted["dora"]["params"]["adapter"]),
    )
    write_peft(tmp_path / "a", METHODS["dora"], new, names, inside="vit.")
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["target_modules"]) == (4, 8, ["q_proj", "v_proj"])
    method, again = read_peft(tmp_path / "a", names)
    assert (method.rank, method.alpha, method.dora) == (4, 8, True)
    chex.assert_trees_all_equal(again, new)
    with pytest.raises(ValueError, match="not empty; allowed: a new or empty folder"):
        write_peft(tmp_path / "a", METHODS["dora"], new, names)
    with pytest.raises(FileNotFoundError, match=r"lacks adapter_config.json"):
        read_peft(tmp_path, names)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (("*attn/query",), r"targets='\*attn/query': names no layer; allowed: patterns of blocks_\*/attn/proj, "),
        (("*attn/qkv:o",), r"targets='\*attn/qkv:o': no part 'o'; allowed: LAYER:q, LAYER:k, LAYER:v, LAYER"),
    ],
)
def test_targets_that_name_nothing_are_refused(targets, message, variables):
    with pytest.raises(ValueError, match=message):
        find_targets(variables["params"], targets)
