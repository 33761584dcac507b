"""Files of LoRA against peft 0.21.2: heads, biases, starts, ranks by layer, every key, older names, and back again."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model
from dlcore.models.stored_arrays import read_safetensors
from dlcore.models.torch_weights import load_torch, published_names
from dlcore.transfer.adapters import Adapted
from dlcore.transfer.lora import LoRA
from dlcore.transfer.peft_files import IGNORED, ONLY, PREFIX, READ, from_peft, read_peft, write_peft
from tests.models.parity import read_golden, weight_rule

FIELDS = {
    "num_classes": 5,
    "image_size": 32,
    "patch_size": 8,
    "depth": 1,
    "width": 32,
    "num_heads": 4,
    "mlp_features": 64,
    "epsilon": 1e-12,
}
GOLDEN, META, WEIGHTS = read_golden("peft_adapters")
NAMES = published_names("vit_b_16", **FIELDS)
OLDER = (
    ("layers.", "encoder.layer."),
    ("attention.q_proj", "attention.attention.query"),
    ("attention.v_proj", "attention.attention.value"),
)
"""From today's names to those of transformers 4, which adapters on the hub have."""


@pytest.fixture(scope="module")
def network():
    """(params, logits of the golden's images by parameters)."""
    model = create_model("vit_b_16", **FIELDS)
    pixels = weight_rule().det_input(META["inputs"]["pixel_values"]).transpose(0, 2, 3, 1)
    logits = jax.jit(lambda params: model.apply({"params": params}, pixels))
    return load_torch("vit_b_16", WEIGHTS, **FIELDS)["params"], logits


def entries_of(case):
    return {key.removeprefix(f"{case}/"): GOLDEN[key] for key in GOLDEN.files if key.startswith(f"{case}/{PREFIX}")}


@pytest.mark.covers("PT-04")
@pytest.mark.parametrize("case", META["configs"])
def test_a_merged_adapter_computes_peft_s_logits_and_goes_back_to_the_same_file(case, network, tmp_path):
    params, logits = network
    assert np.abs(GOLDEN[f"{case}/logits"] - GOLDEN["logits"]).max() > 0.3
    method, new = from_peft(META["configs"][case], entries_of(case), NAMES)
    np.testing.assert_allclose(logits(method.merge(params, new)), GOLDEN[f"{case}/logits"], atol=1e-5)
    write_peft(tmp_path / "a", method, new, NAMES, inside="vit.")
    same, again = read_peft(tmp_path / "a", NAMES)
    np.testing.assert_allclose(logits(same.merge(params, again)), GOLDEN[f"{case}/logits"], atol=1e-5)


def test_adapters_of_older_names_are_read(network):
    params, logits = network
    for case in ("head", "lora_only"):
        entries = entries_of(case)
        for new, old in OLDER:
            entries = {name.replace(new, old): value for name, value in entries.items()}
        assert f"{PREFIX}vit.encoder.layer.0.attention.attention.query.lora_A.weight" in entries
        method, new = from_peft(META["configs"][case], entries, NAMES)
        np.testing.assert_allclose(logits(method.merge(params, new)), GOLDEN[f"{case}/logits"], atol=1e-5)


CHANGES = {
    "peft_type": "LOHA", "r": 2, "lora_alpha": 3, "use_rslora": True, "use_dora": True, "init_lora_weights": "corda",
    "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 3}, "trainable_token_indices": [1],
    "megatron_config": {}, "alora_invocation_tokens": [1], "use_qalora": True, "layer_replication": [[0, 1]],
    "use_bdlora": {}, "arrow_config": {}, "kasa_config": {}, "monteclora_config": {}, "velora_config": {},
    "ensure_weight_tying": True,
}  # fmt: skip


READ_AS_NUMBERS = ("lora_alpha", "use_rslora", "alpha_pattern")


def test_each_key_is_read_or_allowed_alone_or_ignored_with_its_reason():
    keys = {key for config in META["configs"].values() for key in config}
    assert keys | {"runtime_config"} == {*READ, *ONLY, *IGNORED}
    assert all(IGNORED.values())
    assert {*CHANGES} == {*READ, *ONLY}


@pytest.mark.parametrize("key", [key for key in CHANGES if key not in READ_AS_NUMBERS])
def test_a_change_of_each_key_that_the_file_does_not_bear_is_refused_by_name(key):
    with pytest.raises(ValueError, match=f"{key}|r and rank_pattern"):
        from_peft({**META["configs"]["head"], key: CHANGES[key]}, entries_of("head"), NAMES)


@pytest.mark.parametrize("key", READ_AS_NUMBERS)
def test_a_change_of_each_number_changes_the_product(key, network):
    """Of the queries: alpha / r = 8 / 4; 3 / 4; 8 / sqrt(4)."""
    config = META["configs"]["head"]
    deltas = []
    for changed in (config, {**config, key: CHANGES[key]}):
        method, new = from_peft(changed, entries_of("head"), NAMES)
        merged = method.merge(network[0], new)["blocks_0"]["attn"]["qkv"]["kernel"]
        deltas.append((merged - network[0]["blocks_0"]["attn"]["qkv"]["kernel"])[:, :32])
    factor = {"use_rslora": 2, "lora_alpha": 3 / 8, "alpha_pattern": 3 / 8}[key]
    np.testing.assert_allclose(deltas[1], factor * deltas[0], atol=1e-6)


@pytest.mark.parametrize("name", ["vit.pooler.dense.weight", "vit.layers.0.attention.q_proj.lora_C.weight", "norm"])
def test_unknown_entries_are_refused_by_name(name):
    entries = entries_of("head") | {f"{PREFIX}{name}": np.zeros((2, 2), np.float32)}
    with pytest.raises(ValueError, match=f"{name}: the network has no "):
        from_peft(META["configs"]["head"], entries, NAMES)


def test_a_trained_head_is_written_beside_the_adapter(network, tmp_path):
    """What `Adapted` trains comes back: the adapter, the head, and biases that learn with them."""
    params, logits = network
    rng = np.random.default_rng(0)
    adapted = Adapted(create_model("vit_b_16", **FIELDS), LoRA(2, 3), trained=("head*", "*qkv/bias", "norm/*"))
    new = adapted.method.init(jax.random.key(0), adapted.model, {"params": params})
    variables = {"params": {"adapter": new, "trained": adapted.split(params)[0]}, "frozen": adapted.split(params)[1]}
    variables["params"] = jax.tree.map(lambda x: x + 0.1 * rng.normal(size=x.shape), variables["params"])
    write_peft(tmp_path / "a", adapted.method, variables["params"], NAMES, inside="vit.")
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert config["modules_to_save"] == ["classifier", "vit.layernorm"]
    assert config["bias"] == "all"  # of the attention, and of nothing else in the file
    method, again = read_peft(tmp_path / "a", NAMES)
    expected = logits(adapted.merge(variables)["params"])
    assert np.abs(expected - logits(params)).max() > 0.3
    np.testing.assert_allclose(logits(method.merge(params, again)), expected, atol=1e-5)


@pytest.mark.parametrize("start", [True, "pissa", "olora"])
def test_the_adapter_of_an_embedding_by_hand(start, tmp_path):
    """W [3 words, 2] + (4 / 1) (B A)^T with A = [1, 0, 2] over the words and B = [1, 3]; tables start as they are."""
    config = {"r": 1, "lora_alpha": 4, "init_lora_weights": start}
    entries = {
        f"{PREFIX}words.lora_embedding_A": np.array([[1.0, 0, 2]]),
        f"{PREFIX}words.lora_embedding_B": np.array([[1.0], [3]]),
    }
    names = {"params/table/embedding": "words.weight"}
    method, new = from_peft(config, entries, names)
    found = method.merge({"table": {"embedding": jnp.ones((3, 2))}}, new)["table"]["embedding"]
    np.testing.assert_allclose(found, [[5, 13], [1, 1], [9, 25]])
    # A resized table is saved beside its adapter.
    entries[f"{PREFIX}words.base_layer.weight"] = np.full((3, 2), 2.0)
    method, new = from_peft(config, entries, names)
    write_peft(tmp_path / "a", method, new, names)
    method, new = read_peft(tmp_path / "a", names)
    found = method.merge({"table": {"embedding": jnp.ones((2, 2))}}, new)["table"]["embedding"]
    np.testing.assert_allclose(found, [[6, 14], [2, 2], [10, 26]])


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_parts_of_the_kernel_start_as_the_network(start):
    """PiSSA's first singular vectors and OLoRA's first columns: W - s A B + s A B = W; a rank of all leaves nothing."""
    kernel = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)), jnp.float32)
    params = {"layer": {"kernel": kernel}}
    method = LoRA(2, 6, ("layer",), start=start)
    new = method.init(jax.random.key(0), None, {"params": params})
    np.testing.assert_allclose(method.merge(params, new)["layer"]["kernel"], kernel, atol=1e-6)
    a, b = new["layer/kernel"]["a"], new["layer/kernel"]["b"]
    if start == "pissa":
        s = np.linalg.svd(np.asarray(kernel), compute_uv=False)
        np.testing.assert_allclose(np.linalg.svd(3 * np.asarray(a @ b), compute_uv=False)[:2], s[:2], rtol=1e-5)
    else:
        np.testing.assert_allclose(np.asarray(b @ b.T), np.eye(2), atol=1e-6)
    # From another network they start as its parts.
    other = jnp.asarray(np.random.default_rng(1).normal(size=(5, 4)), jnp.float32)
    adapted = Adapted(None, method)
    variables = {"params": {"adapter": new, "trained": {}}, "frozen": params}
    found = adapted.merge(adapted.rebase(variables, {"params": {"layer": {"kernel": other}}}))
    np.testing.assert_allclose(found["params"]["layer"]["kernel"], other, atol=1e-6)


QKV = {"params/qkv/kernel": "q.weight + k.weight + v.weight", "params/qkv/bias": "q.bias + k.bias + v.bias"}


def test_an_adapter_of_queries_keys_and_values_is_written_under_the_names_of_all_three(tmp_path):
    """With A in common, B, m and bias [B_q | B_k | B_v], and the rank of each: the merged network is the same."""
    rng = np.random.default_rng(0)
    shapes = {"a": (4, 2), "b": (2, 6), "m": (6,), "bias": (6,)}
    new = {"qkv/kernel": {kind: rng.normal(size=shape).astype(np.float32) for kind, shape in shapes.items()}}
    params = {"qkv": {"kernel": rng.normal(size=(4, 6)).astype(np.float32), "bias": np.zeros(6, np.float32)}}
    method = LoRA(3, 6, ("qkv",), dora=True)
    write_peft(tmp_path / "a", method, new, QKV)
    entries = read_safetensors(tmp_path / "a" / "adapter_model.safetensors")
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert config["target_modules"] == ["k", "q", "v"]
    assert config["rank_pattern"] == {"q": 2, "k": 2, "v": 2}
    for k, layer in enumerate("qkv"):
        part, name = slice(2 * k, 2 * k + 2), f"{PREFIX}{layer}.lora_"
        np.testing.assert_array_equal(entries[f"{name}A.weight"], new["qkv/kernel"]["a"].T)
        np.testing.assert_array_equal(entries[f"{name}B.weight"], new["qkv/kernel"]["b"].T[part])
        np.testing.assert_array_equal(entries[f"{name}B.bias"], new["qkv/kernel"]["bias"][part])
        np.testing.assert_array_equal(entries[f"{name}magnitude_vector"], new["qkv/kernel"]["m"][part])
    same, again = read_peft(tmp_path / "a", QKV)
    chex.assert_trees_all_close(same.merge(params, again), method.merge(params, new), atol=1e-6)
    with pytest.raises(ValueError, match="start='pissa': of qkv/kernel, which the file cuts; allowed: qkv/k"):
        write_peft(tmp_path / "b", method._replace(start="pissa"), new, QKV)


def test_a_layer_that_learns_beside_its_adapter_keeps_its_kernel(tmp_path):
    """W' = V + 2 A B with the trained V; a parameter of no module, such as a class token, is in no module's list."""
    names = {"params/cls_token": "cls_token", "params/fc/kernel": "fc.weight", "params/fc/inner/kernel": "fc.in.weight"}
    rng = np.random.default_rng(0)
    v, w = rng.normal(size=(2, 3, 4)).astype(np.float32)
    a, b = rng.normal(size=(3, 1)).astype(np.float32), rng.normal(size=(1, 4)).astype(np.float32)
    token = np.ones((1, 1, 4), np.float32)
    new = {"adapter": {"fc/kernel": {"a": a, "b": b}}, "trained": {"fc": {"kernel": v}, "cls_token": token}}
    for inside in ("", "vit."):
        folder = tmp_path / f"{inside}a"
        write_peft(folder, LoRA(1, 2), new, names, inside=inside)
        assert json.loads((folder / "adapter_config.json").read_text())["modules_to_save"] is None
        method, again = read_peft(folder, names)
        merged = method.merge({"fc": {"kernel": w}, "cls_token": 0 * token}, again)
        np.testing.assert_allclose(merged["fc"]["kernel"], v + 2 * a @ b, atol=1e-6)
        np.testing.assert_array_equal(merged["cls_token"], token)
    new = {"adapter": {}, "trained": {"fc": {"kernel": v}}}
    write_peft(tmp_path / "outer", LoRA(1, 2), new, names)  # fc has a module in it that did not learn
    assert json.loads((tmp_path / "outer" / "adapter_config.json").read_text())["modules_to_save"] is None


def test_values_and_matrices_of_a_1x1_convolution_fit_a_linear_layer():
    """W [out, in, 1, 1] of the file is W^T here, and W^T + 3 (B A)^T with its adapter; a table [1, N, D] is [N, D]."""
    names = {"params/fc/kernel": "fc.weight", "params/table": "table"}
    rng = np.random.default_rng(0)
    w, a, b, table = (rng.normal(size=shape).astype(np.float32) for shape in ((4, 3), (1, 3), (4, 1), (1, 5, 2)))
    entries = {f"{PREFIX}fc.base_layer.weight": w[..., None, None], f"{PREFIX}table": table}
    entries |= {f"{PREFIX}fc.lora_A.weight": a[..., None, None], f"{PREFIX}fc.lora_B.weight": b[..., None, None]}
    method, new = from_peft({"r": 1, "lora_alpha": 3}, entries, names)
    params = {"fc": {"kernel": np.zeros((3, 4), np.float32)}, "table": np.zeros((5, 2), np.float32)}
    merged = method.merge(params, new)
    np.testing.assert_allclose(merged["fc"]["kernel"], (w + 3 * b @ a).T, atol=1e-6)
    np.testing.assert_array_equal(merged["table"], table[0])


A_AND_B = {f"{PREFIX}fc.lora_A.weight": np.ones((1, 3)), f"{PREFIX}fc.lora_B.weight": np.ones((4, 1))}


def test_entries_that_have_no_place_are_refused_by_name():
    """A count of updates says nothing; statistics, a second file's layer and a convolution's parts have no place."""
    names = {"params/fc/kernel": "fc.weight", "batch_stats/norm/mean": "norm.running_mean"}
    config, params = {"r": 1, "lora_alpha": 1}, {"fc": {"kernel": jnp.zeros((3, 4))}}
    method, new = from_peft(config, A_AND_B | {f"{PREFIX}norm.num_batches_tracked": np.array(3)}, names)
    np.testing.assert_array_equal(method.merge(params, new)["fc"]["kernel"], np.ones((3, 4)))
    square = {f"{PREFIX}fc.lora_A.weight": np.ones((1, 3, 3, 3)), f"{PREFIX}fc.lora_B.weight": np.ones((4, 1, 1, 1))}
    for change, entries, message in (
        ({}, A_AND_B | {f"{PREFIX}norm.running_mean": np.zeros(4)}, "norm.running_mean: a running statistic; allowed"),
        ({}, A_AND_B | {f"{PREFIX}other.fc.lora_A.weight": np.zeros((1, 3))}, "other.fc.* a second a of fc/kernel"),
        ({"init_lora_weights": "pissa"}, square, "init_lora_weights='pissa': beside .*, a convolution"),
    ):
        with pytest.raises(ValueError, match=message):
            from_peft(config | change, entries, names)
    for entries, message in (
        (A_AND_B | {f"{PREFIX}fc.lora_B.bias": np.ones(4)}, "fc/kernel: a bias of B; allowed: none"),
        (square, r"fc/kernel: A B \[3, 3, 3, 4\]; allowed: \[3, 4\], as the kernel"),
    ):
        method, new = from_peft(config, entries, names)
        with pytest.raises(ValueError, match=message):
            method.merge(params, new)
