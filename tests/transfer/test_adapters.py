"""LoRA, DoRA, BitFit, (IA)^3, bottleneck adapters and visual prompts: peft's numbers, starts, what learns, counts."""

import json
from types import SimpleNamespace
from typing import get_args

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from dlcore.classification import supervised
from dlcore.models import create_model
from dlcore.models.torch_weights import published_names
from dlcore.transfer.adapters import IA3, Adapted, BitFit, Bottleneck, Prompts, find_targets
from dlcore.transfer.lora import LoRA
from dlcore.transfer.methods import AdapterName, create_adapter, merge_adapter
from dlcore.transfer.peft_files import PREFIX, from_peft, read_peft, write_peft
from tests.models.parity import read_golden
from tests.passes import PASSED, count_pass, passes

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
SMALL = FIELDS | {"depth": 1}
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
    return create_model("vit_b_16", **SMALL, head_init=jax.nn.initializers.normal(0.1))


@pytest.fixture(scope="module")
def variables(model, images):
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    return jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def adapted(model, variables, images):
    """By name, the variables of an adapted network, made when they are first asked for."""

    class ByName(dict):
        def __missing__(self, name):
            adapt = jax.jit(lambda key, variables: Adapted(model, METHODS[name]).adapt(key, variables, images))
            return self.setdefault(name, adapt(jax.random.key(1), variables))

    return ByName()


@pytest.fixture(scope="module")
def unadapted(model, variables, images):
    """Outputs of the network without an adapter."""
    return jax.jit(model.apply)(variables, images)


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


@pytest.mark.slow(unless=["lora"])
@pytest.mark.covers("PT-04", "PT-06")
@pytest.mark.parametrize("name", SAME_AT_THE_START)
def test_an_adapter_starts_as_the_network(name, model, adapted, images, unadapted):
    outputs = jax.jit(Adapted(model, METHODS[name]).apply)(adapted[name], images)
    np.testing.assert_allclose(outputs, unadapted, atol=1e-6 if name == "dora" else 1e-7)


@pytest.mark.covers("PT-05", "PT-06")
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("lora", 2 * (32 * 4 + 4 * 32)),  # q and v, A and B
        ("dora", 2 * (32 * 4 + 4 * 32 + 32)),
        ("bitfit", 0),
        ("ia3", 32 + 32 + 64),  # k, v, hidden units
        ("bottleneck", 32 * 3 + 3 + 3 * 32 + 32),
        ("prompts", 3 * 32),
        ("deep_prompts", 3 * 32),
    ],
)
def test_new_parameters_are_counted_by_hand(name, count, model, variables, images):
    shapes = jax.eval_shape(Adapted(model, METHODS[name]).adapt, jax.random.key(1), variables, images)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]["adapter"])) == count
    trained = {"/".join(path) for path in flatten_dict(shapes["params"]["trained"])}
    biases = {"/".join(path) for path in flatten_dict(variables["params"]) if path[-1] == "bias"} - {"head/bias"}
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
    dora = method._replace(dora=True)
    np.testing.assert_allclose(dora.merge(params, new)["layer"]["kernel"], expected, rtol=1e-6)
    # The norms have no slope: of the sum of W', those of B are 4 m / norm, since only the first row of A B counts.
    slopes = jax.jit(jax.grad(lambda new: dora.merge(params, new)["layer"]["kernel"].sum()))(new)["layer/kernel"]
    np.testing.assert_allclose(slopes["b"], [[4 * 10 / 5, 4 * 2 / 65**0.5]], rtol=1e-6)
    assert LoRA(rank=4, alpha=8).scale == 2
    assert LoRA(rank=4, alpha=8, rank_stabilized=True).scale == 4


@pytest.mark.slow
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


@pytest.mark.slow(unless=["lora"])
@pytest.mark.parametrize("name", ["lora", "rslora", "dora", "ia3", "bitfit"])
def test_a_merged_network_computes_the_same(name, model, adapted, images):
    wrapped = Adapted(model, METHODS[name])
    moved = {**adapted[name], "params": jax.tree.map(lambda x: x + 0.05, adapted[name]["params"])}
    outputs = jax.jit(wrapped.apply)(moved, images)
    np.testing.assert_allclose(jax.jit(model.apply)(wrapped.merge(moved), images), outputs, rtol=1e-5, atol=1e-5)


def test_the_network_without_its_adapter_is_the_one_that_was_adapted(model, variables, adapted):
    found = Adapted(model, METHODS["lora"]).network_variables(adapted["lora"] | {"batch_stats": {"mean": 3}})
    assert found.pop("batch_stats") == {"mean": 3}
    chex.assert_trees_all_equal(found, dict(variables))


def test_an_adapter_is_merged_by_the_settings_of_its_run():
    """W + 4 / 2 A B = 1 + 2 (1 x 3 + 2 x 4) = 23; without an adapter the network stays."""
    kernel, head = np.ones((1, 1), np.float32), {"head": {"kernel": np.full((1, 1), 5, np.float32)}}
    new = {"layer/kernel": {"a": np.float32([[1, 2]]), "b": np.float32([[3], [4]])}}
    params, frozen = {"adapter": new, "trained": head}, {"layer": {"kernel": kernel}}
    settings = {"adapt": "lora", "rank": 2, "alpha": 4.0, "targets": ("layer",), "bottleneck": 1, "prompts": 1}
    found = merge_adapter(settings, {"params": params, "frozen": frozen})["params"]
    assert (found["layer"]["kernel"].item(), found["head"]["kernel"].item()) == (23, 5)
    params = {"adapter": {}, "trained": head}
    found = merge_adapter(settings | {"adapt": "head"}, {"params": params, "frozen": frozen})["params"]
    assert (found["layer"]["kernel"].item(), found["head"]["kernel"].item()) == (1, 5)


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
    assert config == {
        "bias": "none", "lora_alpha": 8, "peft_type": "LORA", "r": 4, "target_modules": ["q_proj", "v_proj"],
        "task_type": None, "use_dora": True, "use_rslora": False, "init_lora_weights": True, "lora_bias": False,
        "modules_to_save": None,
    }  # fmt: skip
    method, again = read_peft(tmp_path / "a", names)
    assert (method.rank, method.alpha, method.dora) == (4, 8, True)
    chex.assert_trees_all_equal(again, new)
    with pytest.raises(ValueError, match="not empty; allowed: a new or empty folder"):
        write_peft(tmp_path / "a", METHODS["dora"], new, names)
    with pytest.raises(FileNotFoundError, match=r"lacks adapter_config.json"):
        read_peft(tmp_path, names)
    with pytest.raises(ValueError, match="a file, or not empty; allowed: a new or empty folder"):
        write_peft(tmp_path / "a" / "adapter_config.json", METHODS["dora"], new, names)
    for folder in (tmp_path / "b", tmp_path / "c" / "d"):
        (tmp_path / "b").mkdir(exist_ok=True)
        write_peft(folder, METHODS["dora"], new, names)
        chex.assert_trees_all_equal(read_peft(folder, names)[1], new)


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


def test_an_error_names_the_first_layers_of_a_network_of_many():
    params = {f"layer_{letter}": {"kernel": 0} for letter in "abcdefghijklmn"}
    listed = ", ".join(f"layer_{letter}" for letter in "abcdefghijkl")
    with pytest.raises(ValueError, match=f"names no layer; allowed: patterns of {listed}$"):
        find_targets(params, ("head",))


def test_the_frozen_network_gets_no_gradient():
    variables = {
        "params": {"adapter": {"layer/kernel": {"a": np.ones((1, 1)), "b": np.ones((1, 1))}}, "trained": {}},
        "frozen": {"layer": {"kernel": np.ones((1, 1))}},
    }
    wrapped = Adapted(nn.Module(), LoRA(1, 2.0, ("layer",)))
    slope = jax.jit(jax.grad(lambda variables: wrapped.network_params(variables)["layer"]["kernel"].sum()))
    slopes = slope(variables)
    assert slopes["frozen"]["layer"]["kernel"] == 0
    assert slopes["params"]["adapter"]["layer/kernel"]["a"] == 2


def test_targets_come_in_the_order_of_the_network_s_layers_and_of_their_parts():
    layers = {name: {"qkv": {"kernel": 0, "bias": 0}} for name in ("block_2", "block_10")}
    found = find_targets({"stem": {"kernel": 0}, **layers}, ("*qkv:v", "*qkv:q", "stem"))
    assert [target.name for target in found] == [
        "stem/kernel", "block_2/qkv/kernel:q", "block_2/qkv/kernel:v", "block_10/qkv/kernel:q", "block_10/qkv/kernel:v",
    ]  # fmt: skip


def test_methods_are_made_for_the_module_that_they_adapt():
    """Patterns begin with the module's name; heads learn beside, and nothing else with the method head."""
    settings = {"rank": 3, "alpha": 5.0, "targets": ("*fc1",), "bottleneck": 7, "prompts": 4}
    found = {name: create_adapter(name, **settings, inside="net") for name in get_args(AdapterName)}
    lora = LoRA(3, 5.0, ("net/*fc1",))
    assert (found["head"].TRAINED, found["bitfit"].TRAINED) == ((), ("*bias",))
    assert {name: method for name, method in found.items() if name not in ("head", "bitfit")} == {
        "lora": lora,
        "dora": lora._replace(dora=True),
        "ia3": IA3(("net/*attn/qkv:k", "net/*attn/qkv:v"), ("net/*mlp/fc2",)),
        "adapter": Bottleneck(7, ("net/*blocks_*/mlp",)),
        "vpt": Prompts(4, False, inside="net"),
        "vpt_deep": Prompts(4, True, inside="net"),
    }
    assert create_adapter("adapter", **settings) == Bottleneck(7)


def test_ia3_rescales_the_columns_of_keys_and_values_and_the_rows_of_the_hidden_units():
    qkv = {"kernel": np.ones((2, 6), np.float32), "bias": np.arange(6, dtype=np.float32)}
    fc2 = {"kernel": np.ones((3, 2), np.float32), "bias": np.ones(2, np.float32)}
    params = jax.tree.map(jnp.asarray, {"block": {"attn": {"qkv": qkv}, "mlp": {"fc2": fc2}}})
    first = IA3().init(jax.random.key(0), None, {"params": params})
    names = [f"block/{name}" for name in ("attn/qkv/kernel:k", "attn/qkv/kernel:v", "mlp/fc2/kernel:inputs")]
    assert {name: vector.tolist() for name, vector in first.items()} == dict(
        zip(names, ([1, 1], [1, 1], [1, 1, 1]), strict=True)
    )
    vectors = dict(zip(names, map(jnp.float32, ([2, 3], [5, 7], [1, 2, 4])), strict=True))
    merged = IA3().merge(params, vectors)["block"]
    scale = np.array([1, 1, 2, 3, 5, 7])  # queries stay
    np.testing.assert_array_equal(merged["attn"]["qkv"]["kernel"], [scale, scale])
    np.testing.assert_array_equal(merged["attn"]["qkv"]["bias"], np.arange(6) * scale)
    np.testing.assert_array_equal(merged["mlp"]["fc2"]["kernel"], [[1, 1], [2, 2], [4, 4]])
    np.testing.assert_array_equal(merged["mlp"]["fc2"]["bias"], [1, 1])


class Width(nn.Module):
    """One parameter of the width of x; the output is twice x."""

    @nn.compact
    def __call__(self, x):
        self.param("scale", nn.initializers.ones, x.shape[-1:])
        return 2 * x


class Block(nn.Module):
    """Each token plus the sum of all; `mlp` doubles them."""

    @nn.compact
    def __call__(self, x):
        Width(name="norm1")(x)
        return Width(name="mlp")((x + x.sum(1, keepdims=True)) / 2)


class Blocks(nn.Module):
    """Two blocks."""

    @nn.compact
    def __call__(self, x):
        for i in range(2):
            x = Block(name=f"blocks_{i}")(x)
        return x


class Around(nn.Module):
    """Blocks inside another module, after a block that is not one of them."""

    @nn.compact
    def __call__(self, x):
        return Blocks(name="net")(Block(name="blocks_7")(x))


SCALE = {"scale": np.ones(1, np.float32)}
BLOCKS = {f"blocks_{i}": {"norm1": SCALE, "mlp": SCALE} for i in range(2)}
TOKENS = np.float32([[[1], [2]]])


@pytest.mark.parametrize(
    ("deep", "expected"),
    [
        # (1, 2, 10) + 13 = (14, 15, 23), then + 52; the third is cut off at the end.
        (False, [66, 67]),
        # (14, 15), then (14, 15, 100) + 129.
        (True, [143, 144]),
    ],
)
def test_prompts_stand_behind_the_tokens_and_are_cut_off(deep, expected):
    tokens = {"tokens": np.float32([[[10]], [[100]]])[: 1 + deep]}
    variables = {"params": {"adapter": tokens, "trained": {}}, "frozen": BLOCKS}
    found = Adapted(Blocks(), Prompts(tokens=1, deep=deep)).apply(variables, TOKENS)
    np.testing.assert_array_equal(found[0, :, 0], expected)
    # A block elsewhere gets no tokens: (0, 1) + 1 = (1, 2).
    outer = {"net": BLOCKS, "blocks_7": BLOCKS["blocks_0"]}
    variables = {"params": {"adapter": tokens, "trained": {}}, "frozen": outer}
    found = Adapted(Around(), Prompts(tokens=1, deep=deep, inside="net")).apply(variables, TOKENS - 1)
    np.testing.assert_array_equal(found[0, :, 0], expected)


def test_prompts_are_drawn_as_a_patch_s_weights():
    """sqrt(6 / (3 p^2 + width)) bounds them: .35 for p = 4 and a width of 1."""
    model = SimpleNamespace(patch_size=4, net=SimpleNamespace(patch_size=4))
    for method, params in ((Prompts(300), BLOCKS), (Prompts(300, inside="net", deep=True), {"net": BLOCKS})):
        (tokens,) = method.init(jax.random.key(0), model, {"params": params}).values()
        chex.assert_shape(tokens, (1 + method.deep, 300, 1))
        bound = (6 / (3 * 16 + 1)) ** 0.5
        assert 0.95 * bound < tokens.max() <= bound
        assert -bound <= tokens.min() < -0.95 * bound
    # A network that does not say its patches' side has those of ViT, 16.
    (tokens,) = Prompts(300).init(jax.random.key(0), SimpleNamespace(), {"params": BLOCKS}).values()
    assert 0.95 < tokens.max() / (6 / (3 * 256 + 1)) ** 0.5 <= 1


def test_a_bottleneck_adds_to_the_module_that_it_follows():
    """h + 3 gelu(.5 h + .1) + .2 behind the second MLP alone, of h = 2 (x + sum) / 2 of both blocks."""
    mlp = {"down": [[0.5]], "down_bias": [0.1], "up": [[3.0]], "up_bias": [0.2]}
    new = {"blocks_1/mlp": {name: np.float32(value) for name, value in mlp.items()}}
    variables = {"params": {"adapter": new, "trained": {}}, "frozen": BLOCKS}
    found = Adapted(Blocks(), Bottleneck()).apply(variables, TOKENS - 2)
    # (-1, 0) - 1 = (-2, -1), less 3: (-5, -4).
    h = np.array([-5.0, -4.0])
    u = 0.5 * h + 0.1
    gelu = 0.5 * u * (1 + np.tanh((2 / np.pi) ** 0.5 * (u + 0.044715 * u**3)))
    np.testing.assert_allclose(found[0, :, 0], h + 3 * gelu + 0.2, rtol=1e-5)
    first = Bottleneck(features=2).init(jax.random.key(0), Blocks(), {"params": BLOCKS}, TOKENS)
    assert set(first) == {"blocks_0/mlp", "blocks_1/mlp"}
    assert (first["blocks_0/mlp"]["down"] != first["blocks_1/mlp"]["down"]).all()


def test_lora_starts_within_peft_s_bound_and_dora_with_the_norms_of_the_outputs():
    """A convolution of 2 x 3 pixels and 4 channels has 24 inputs: A is uniform within 1 / sqrt(24)."""
    kernel = np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype(np.float32)
    method = LoRA(rank=50, alpha=100, dora=True, targets=("layer",))
    (new,) = method.init(jax.random.key(0), None, {"params": {"layer": {"kernel": jnp.asarray(kernel)}}}).values()
    chex.assert_shape(new["a"], (2, 3, 4, 50))
    assert 0.99 / 24**0.5 < new["a"].max() <= 1 / 24**0.5
    assert -0.99 / 24**0.5 > new["a"].min() >= -1 / 24**0.5
    np.testing.assert_array_equal(new["b"], np.zeros((50, 6)))
    norms = np.linalg.norm(kernel.reshape(24, 6), axis=0)
    np.testing.assert_allclose(new["m"], norms, rtol=1e-5)
    again = method.rebase({"layer": {"kernel": 3 * jnp.asarray(kernel)}}, {"layer/kernel": new})["layer/kernel"]
    np.testing.assert_allclose(again["m"], 3 * norms, rtol=1e-5)
    np.testing.assert_array_equal(again["a"], new["a"])


CONV_NAMES = {"params/layer/kernel": "conv.weight"}
CONV_ENTRIES = {
    f"{PREFIX}conv.lora_A.weight": np.arange(24).reshape(1, 4, 2, 3),
    f"{PREFIX}conv.lora_B.weight": np.arange(6)[:, None],
}


def test_peft_s_matrices_of_a_convolution_go_round(tmp_path):
    """In peft A is [r, in, h, w] and B [out, r]; here A is [h, w, in, r] and B [r, out]."""
    method, new = from_peft(
        {"peft_type": "LORA", "r": 1, "lora_alpha": 2, "use_rslora": True}, CONV_ENTRIES, CONV_NAMES
    )
    assert method == LoRA(1, 2, ("layer",), rank_stabilized=True)
    a = new["layer/kernel"]["a"]
    chex.assert_shape(a, (2, 3, 4, 1))
    assert (a[1, 2, 3, 0], a[1, 0, 2, 0]) == (23, 12 + 3)
    np.testing.assert_array_equal(new["layer/kernel"]["b"], [np.arange(6)])
    write_peft(tmp_path / "a", method, new, CONV_NAMES)
    same, again = read_peft(tmp_path / "a", CONV_NAMES)
    assert same == method
    chex.assert_trees_all_equal(again, new)


def test_other_files_of_peft_are_refused(tmp_path):
    with pytest.raises(ValueError, match="the network has no layer conv; allowed: dense"):
        from_peft({"r": 1, "lora_alpha": 2}, CONV_ENTRIES, {"params/layer/kernel": "dense.weight"})
    method, new = from_peft({"r": 1, "lora_alpha": 2}, CONV_ENTRIES, CONV_NAMES)
    write_peft(tmp_path / "a", method, new, CONV_NAMES)
    for change, message in (
        ({"peft_type": "IA3"}, "peft_type='IA3': no LoRA; allowed: LORA"),
        ({"rank_pattern": {"conv": 2}}, "conv: of rank 1; allowed: 2, of r and rank_pattern"),
    ):
        config = {"peft_type": "LORA", "r": 1, "lora_alpha": 2} | change
        (tmp_path / "a" / "adapter_config.json").write_text(json.dumps(config))
        with pytest.raises(ValueError, match=message):
            read_peft(tmp_path / "a", CONV_NAMES)
    for config, message in (
        ("{", r"adapter_config.json: not JSON \(.*\); allowed: the file as it was published"),
        ("[]", "adapter_config.json: holds a list; allowed: a JSON object"),
        ('{"peft_type": "LORA", "r": 1}', "adapter_config.json has no lora_alpha; allowed: the file of peft"),
    ):
        (tmp_path / "a" / "adapter_config.json").write_text(config)
        with pytest.raises(ValueError, match=message):
            read_peft(tmp_path / "a", CONV_NAMES)
    (tmp_path / "a" / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 1, "lora_alpha": 2}')
    (tmp_path / "a" / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"adapter_model.safetensors: 0 bytes without a whole header"):
        read_peft(tmp_path / "a", CONV_NAMES)


@pytest.mark.covers("PT-04", "PT-05")
def test_one_update_moves_the_adapter_and_the_head_and_keeps_the_rest():
    """Logits are relu(x (W + 2 A B)) V, and A, B and V descend on the cross-entropy; W stands still.

    The network's own statistics move as they do without an adapter.
    """

    class Small(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            count_pass(self, train)
            x = nn.relu(nn.Dense(3, use_bias=False, name="layer")(x.reshape(len(x), -1)))
            return nn.Dense(2, use_bias=False, name="head")(x)

    wrapped = Adapted(Small(), LoRA(rank=1, alpha=2, targets=("layer",)))
    learner = supervised.learner(model=wrapped, optimizer=optax.adam(0.01))
    rng = np.random.default_rng(0)
    batch = {"image": rng.normal(size=(4, 2, 1, 1)).astype(np.float32), "label": np.array([0, 1, 1, 0])}
    batch["index"] = np.arange(4)
    shapes = jax.eval_shape(learner.init, jax.random.key(0), batch).replace(rng=None)
    params, frozen = jax.tree.map(
        lambda s: rng.normal(size=s.shape).astype(np.float32), (shapes.params, shapes.model_state["frozen"])
    )
    assert set(flatten_dict(frozen)) == {("layer", "kernel")}
    opt_state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes.opt_state)
    state = shapes.replace(step=np.int32(0), rng=jax.random.key(0), params=params, opt_state=opt_state)
    state = state.replace(model_state={"frozen": frozen, **PASSED})
    after, metrics = jax.jit(learner.update)(state, batch)
    new, head = params["adapter"]["layer/kernel"], params["trained"]["head"]["kernel"]
    hidden = batch["image"].reshape(4, 2) @ (frozen["layer"]["kernel"] + 2 * new["a"] @ new["b"])
    scores = np.exp(np.maximum(hidden, 0) @ head)
    loss = -np.log(scores[np.arange(4), batch["label"]] / scores.sum(1)).mean()
    assert metrics["loss"].compute() == pytest.approx(float(loss), rel=1e-5)
    chex.assert_trees_all_equal(after.model_state["frozen"], frozen)
    assert passes(after.model_state) == 3 + 1
    # The first step of Adam is .01 long wherever there is a slope.
    moved = jax.tree.map(lambda a, b: np.abs(a - b), after.params, params)
    np.testing.assert_allclose(moved["adapter"]["layer/kernel"]["a"], 0.01, rtol=1e-3)
    np.testing.assert_allclose(moved["trained"]["head"]["kernel"], 0.01, rtol=1e-3)
