"""Published weights load, and what does not fit is named; all names and shapes are in test_manifests."""

import functools
import importlib
import pickle
import zipfile
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from dlcore.learner import root_key
from dlcore.models import create_model, input_shape, load_torch, torch_file, torch_names
from dlcore.models.torch_weights import count_classes, fill_from_torch, head_paths, put_variables, size_of_layers
from dlcore.models.weight_files import listed, read_state_dict
from tests.models.parity import read_golden
from tests.models.tracing import layers_traced_once

FILES = Path(__file__).parent / "torch_files"
"""What torch 2.13 wrote of the tensors below: torch.save({"epoch": 3, "args": argparse.Namespace(lr=0.1,
dtype=torch.float32), "state_dict": {f"module.{name}": tensor}}), stream.pth with
_use_new_zipfile_serialization=False."""


@functools.cache
def resnet18_weights():
    return read_golden("tv_resnet18")[2]


def small(**more):
    """The state dict of a resnet18, with other entries in place of some."""
    return {**resnet18_weights(), **more}


def test_an_entry_that_is_missing_or_left_over_is_named():
    weights = small(extra=np.zeros(3))
    del weights["layer1.0.conv1.weight"]
    with (
        layers_traced_once(),
        pytest.raises(ValueError, match=r"1 missing: layer1\.0\.conv1\.weight; 1 left over: extra"),
    ):
        load_torch("resnet18", weights)


def test_weights_that_are_no_dict_are_refused():
    with pytest.raises(ValueError, match=r"^state_dict=list: no state dict; allowed: a dict of name -> array$"):
        load_torch("resnet18", list(small().values()))


def test_a_wrong_shape_is_named():
    weights = small()
    weights["layer1.0.conv1.weight"] = np.zeros((64, 64, 1, 1), np.float32)
    with layers_traced_once():
        with pytest.raises(ValueError, match=r"of a wrong shape: layer1\.0\.conv1\.weight \(64, 64, 1, 1\)"):
            load_torch("resnet18", weights)
        with pytest.raises(ValueError, match="of a wrong shape"):
            load_torch("resnet18", weights, replace_head=True)
        head = {"fc.weight": np.zeros((7, 512), np.float32), "fc.bias": np.zeros(7, np.float32)}
        hint = "replace_head=True leaves a head of another size at its initial value$"
        with pytest.raises(ValueError, match=rf"2 of a wrong shape: fc\.bias \(7,\).*{hint}"):
            load_torch("resnet18", small(**head))
        with pytest.raises(ValueError, match=r"3 of a wrong shape: .*not \(3, 3, 64, 64\); $"):
            load_torch("resnet18", {**weights, **head})


@pytest.mark.weekly
def test_a_head_of_another_size_is_dropped_only_on_demand():
    with pytest.raises(ValueError, match=r"2 of a wrong shape: .*fc\.weight.*replace_head=True"):
        load_torch("resnet18", small(), num_classes=10)
    variables = load_torch("resnet18", small(), replace_head=True, num_classes=10)
    np.testing.assert_array_equal(variables["params"]["head"]["kernel"], jnp.zeros((512, 10)))
    np.testing.assert_array_equal(variables["params"]["conv1"]["kernel"], small()["conv1.weight"].transpose(2, 3, 1, 0))
    logits = jax.eval_shape(create_model("resnet18", num_classes=10).apply, variables, jnp.zeros((1, 64, 64, 3)))
    chex.assert_shape(logits, (1, 10))


def test_a_head_of_another_size_is_that_of_a_new_network():
    """Of the key 0, as of a run without a seed; the hidden layer is the file's."""
    fields = {"hidden": (3,), "num_classes": 4, "head_init": jax.nn.initializers.normal(1.0)}
    inputs = np.zeros((1, *input_shape("mlp")), np.float32)
    new = jax.jit(create_model("mlp", **fields).init)(root_key(0), inputs)["params"]
    state_dict = {}
    for path, name in torch_names("mlp", hidden=(3,), num_classes=10).items():
        _, layer, leaf = path.split("/")
        shape = np.shape(new[layer][leaf]) if layer != "head" else (3, 10)[-np.ndim(new[layer][leaf]) :]
        state_dict[name] = np.full(shape[::-1], 7, np.float32)
    found = load_torch("mlp", state_dict, replace_head=True, **fields)["params"]
    chex.assert_trees_all_close(found["head"], new["head"], rtol=1e-6)
    rest = {name: leaves for name, leaves in found.items() if name != "head"}
    assert rest
    assert all((leaf == 7).all() for leaf in jax.tree.leaves(rest))


def test_counters_are_ignored_and_float64_becomes_float32():
    weights = {key: value.astype(np.float64) for key, value in small().items() if "num_batches" not in key}
    with layers_traced_once():
        leaves = jax.tree.leaves(load_torch("resnet18", weights))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("name", ["zip.pth", "stream.pth"])
def test_a_file_of_torch_is_read_without_torch(name):
    weight = np.arange(24, dtype=np.float32).reshape(4, 6)
    tensors = {
        "weight": weight.T,
        "slice": weight[1:3, 2:5],
        "half": weight[0],
        "bfloat16": weight[1],
        "long": np.arange(3),
        "bool": np.array([True, False]),
        "scalar": np.float32(3.5),
        "parameter": np.ones(2, np.float32),
    }
    found = read_state_dict(FILES / name)
    assert found.keys() == tensors.keys()
    for key, value in tensors.items():
        np.testing.assert_array_equal(found[key], value)
        assert found[key].dtype == value.dtype


def test_a_file_calls_nothing_that_it_names(tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return print, ("it ran",)

    (tmp_path / "evil.pth").write_bytes(b"".join(pickle.dumps(x) for x in (0, 0, 0, {"a": Evil()}, [])))
    with pytest.raises(ValueError, match=r"no file of torch\.save, or damaged"):
        read_state_dict(tmp_path / "evil.pth")
    assert "it ran" not in capsys.readouterr().out


@pytest.mark.parametrize("ending", ["pth", "npz", "safetensors"])
def test_junk_and_cut_files_are_one_clear_error(tmp_path, ending):
    for content in (b"", b"junk", (FILES / "zip.pth").read_bytes()[:900], (FILES / "stream.pth").read_bytes()[:-4]):
        path = tmp_path / f"junk.{ending}"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"junk.*; allowed: |ends beyond its storage; allowed: ") as caught:
            read_state_dict(path)
        assert "allow_pickle" not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_names_that_training_scripts_add_are_taken_off(tmp_path):
    plain = small()
    for prefix in ("module.", "state_dict.", "model.", "_orig_mod.", "_orig_mod.module.", "state_dict.model."):
        wrapped = {f"{prefix}{key}": value for key, value in plain.items()} | {"n_averaged": np.int64(3)}
        found = load_torch("resnet18", wrapped)
        np.testing.assert_array_equal(found["params"]["conv1"]["kernel"], plain["conv1.weight"].transpose(2, 3, 1, 0))
    np.savez(tmp_path / "weights.npz", **{f"module.{key}": value for key, value in plain.items()})
    assert read_state_dict(tmp_path / "weights.npz").keys() == plain.keys()


def test_errors_name_five_entries_and_count_the_others():
    with pytest.raises(ValueError, match=r"102 missing: \S+, \S+, \S+, \S+, \S+ and 97 more; 1 left over: a") as caught:
        load_torch("resnet18", {"a": np.zeros(3)})
    assert len(str(caught.value)) < 250
    assert listed("missing", list("abcde")) == "5 missing: a, b, c, d, e; "
    assert listed("missing", list("abcdef")) == "6 missing: a, b, c, d, e and 1 more; "


def test_a_tensor_takes_no_more_memory_than_its_storage_holds():
    """Four bytes that call themselves 100,000 x 1,000,000 numbers of stride 0 would become 373 GiB."""
    storage = torch_file._Storage("FloatStorage", "0", {"0": b"\0" * 4})
    with pytest.raises(ValueError, match="a tensor of 100,000,000,000 numbers in a storage of 1; allowed"):
        torch_file.TorchTensor(storage, 0, (100_000, 1_000_000), (0, 0)).array()
    chex.assert_shape(torch_file.TorchTensor(storage, 0, (1, 1), (7, 7)).array(), (1, 1))


def test_a_tensor_is_its_part_of_the_storage():
    """Of six numbers: rows of two at 1 and 4; and nothing behind the last, before the first, or of unknown kinds."""
    contents = {"0": np.arange(6, dtype=np.float32).tobytes()}

    def array(*place, kind="FloatStorage"):
        return torch_file.TorchTensor(torch_file._Storage(kind, "0", contents), *place).array()

    np.testing.assert_array_equal(array(1, (2, 2), (3, 1)), [[1, 2], [4, 5]])
    np.testing.assert_array_equal(array(0, (2, 3), (1, 2)), [[0, 2, 4], [1, 3, 5]])
    np.testing.assert_array_equal(array(5, (), ()), 5)
    chex.assert_shape(array(6, (0, 9), (9, 1)), (0, 9))
    with pytest.raises(ValueError, match=r"holds a torch\.QInt8Storage; allowed: FloatStorage, "):
        array(0, (1,), (1,), kind="QInt8Storage")


def test_a_file_of_the_other_byte_order_is_refused(tmp_path):
    for order, problem in ((b"big", "written on a machine of the other byte order"), (b"little", None)):
        with zipfile.ZipFile(tmp_path / "weights.pth", "w") as file:
            file.writestr("archive/data.pkl", pickle.dumps({"epoch": 3}))
            file.writestr("archive/byteorder", order)
        if problem is None:
            assert torch_file.read_torch_file(tmp_path / "weights.pth") == {"epoch": 3}
            continue
        with pytest.raises(ValueError, match=problem):
            torch_file.read_torch_file(tmp_path / "weights.pth")


def test_the_number_of_classes_is_read_from_the_layers_that_depend_on_it():
    # A head of 9 anchors: 9 C channels. A box head of classes and background: 4 (C + 1) numbers. A fixed layer.
    def shapes(classes):
        sizes = {"score": (1, 1, 8, 9 * classes), "box": (8, 4 * (classes + 1)), "stem": (3, 3, 3, 8)}
        return {f"params/{name}/kernel": jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in sizes.items()}

    names = {path: path.split("/")[1] for path in shapes(1)}
    # Torch has the outputs first: 27 = 9 * 3 and 16 = 4 * (3 + 1).
    entries = {"score": np.zeros((27, 8, 1, 1)), "box": np.zeros((16, 8)), "stem": np.zeros((8, 3, 3, 3))}
    leaves = (shapes(90), shapes(91))
    assert size_of_layers("classes", 90, leaves, names, entries) == 3
    assert size_of_layers("classes", 90, leaves, names, {"stem": entries["stem"]}) is None
    flat = {"score": np.zeros((27, 8)), "box": entries["box"]}
    assert size_of_layers("classes", 90, leaves, names, flat) == 3, "an entry of another rank is passed over"
    assert count_classes("mae_vit_b_16", {}) is None
    one = {"score": np.zeros((9, 8, 1, 1)), "box": np.zeros((8, 8))}
    assert size_of_layers("classes", 90, leaves, names, one) == 1
    with pytest.raises(ValueError, match=r"score \(1, 1, 8, 0\): fits no number of classes"):
        size_of_layers("classes", 90, leaves, names, {"score": np.zeros((0, 8, 1, 1))})
    with pytest.raises(ValueError, match="its heads differ in the number of classes: score has 3, box has 4; allowed:"):
        size_of_layers("classes", 90, leaves, names, entries | {"box": np.zeros((20, 8))})
    with pytest.raises(ValueError, match=r"score \(1, 1, 8, 28\): fits no number of classes"):
        size_of_layers("classes", 90, leaves, names, entries | {"score": np.zeros((28, 8, 1, 1))})


def test_the_classes_of_a_file_are_those_of_its_head():
    """An MLP of 128 units before the head, whose file may tell 4 classes apart, or have no head."""
    head = {"head.weight": np.zeros((4, 128)), "head.bias": np.zeros(4)}
    rest = {"dense2.weight": np.zeros((128, 128))}
    paths = {"params/head/kernel", "params/head/bias"}
    assert count_classes("mlp", {"module." + key: value for key, value in (head | rest).items()}) == 4
    assert count_classes("mlp", rest) is None
    assert count_classes("gpt2", {"wte.weight": np.zeros((3, 2))}) is None
    assert head_paths("mlp", head) == (paths, True)
    assert head_paths("mlp", rest) == (paths, False)
    assert head_paths("gpt2", rest) == (set(), False)


def test_a_convolution_of_one_pixel_is_a_layer_and_axes_of_one_come_and_go():
    """Kernels have their outputs last; what is no kernel keeps the order of its numbers, and the order of its axes."""
    numbers = np.arange(6, dtype=np.float32)

    def load(leaf, shape, value):
        tree = {"params": {"a": {leaf: np.zeros(shape, np.float32)}}}
        key = {"kernel": "a.weight", "token": "a.token"}[leaf]
        return np.asarray(fill_from_torch(tree, {key: value}, (), what="net")["params"]["a"][leaf])

    np.testing.assert_array_equal(load("kernel", (2, 3), numbers.reshape(3, 2, 1, 1)), numbers.reshape(3, 2).T)
    np.testing.assert_array_equal(load("kernel", (2, 3), numbers.reshape(3, 2)), numbers.reshape(3, 2).T)
    kernel = load("kernel", (1, 3, 1, 2), numbers.reshape(2, 1, 1, 3))
    np.testing.assert_array_equal(kernel[0, :, 0], numbers.reshape(2, 3).T)
    np.testing.assert_array_equal(load("token", (6,), numbers.reshape(1, 6, 1)), numbers)
    np.testing.assert_array_equal(load("token", (1, 2, 3), numbers.reshape(2, 3))[0], numbers.reshape(2, 3))
    for leaf, shape, value in (
        ("token", (3, 2), numbers.reshape(2, 3)),
        ("kernel", (2, 3), numbers.reshape(3, 1, 1, 2)),
        ("token", (2, 4), np.zeros((4, 2), np.float32)),
    ):
        with pytest.raises(ValueError, match=r"it does not fit net; 1 of a wrong shape: a\.\w+, as \(.*\) not \("):
            load(leaf, shape, value)


def test_joined_projections_are_cut_where_queries_keys_and_values_stand_alone():
    names = ("query", "key", "value")
    leaves = {name: {"kernel": np.zeros((2, 2), np.float32), "bias": np.zeros(2, np.float32)} for name in names}
    weight, bias = np.arange(12, dtype=np.float32).reshape(6, 2), np.arange(6, dtype=np.float32)
    rules = ((r"\.(q|k|v)(uery|ey|alue)\.", r".\1_proj."),)
    entries = {"attn.in_proj_weight": weight, "attn.in_proj_bias": bias}
    found = fill_from_torch({"params": {"attn": leaves}}, entries, rules, what="net")["params"]["attn"]
    for i, name in enumerate(names):
        np.testing.assert_array_equal(found[name]["kernel"], weight[2 * i : 2 * i + 2].T)
        np.testing.assert_array_equal(found[name]["bias"], bias[2 * i : 2 * i + 2])


PLACES = {
    ("regnet", 0): {
        "block2_1/a/1/bias": "s2.b2.conv1.bn.bias",
        "block1_0/c/1/bias": "s1.b1.conv3.bn.bias",
        "block1_0/proj/1/bias": "s1.b1.downsample.bn.bias",
    },
    ("swin_v2", 0): {
        "features_3_1/norm1/bias": "encoder.layers.1.blocks.1.layernorm_before.bias",
        "features_4/norm/bias": "encoder.layers.1.downsample.norm.bias",
    },
    ("swin_v2", 1): {  # Microsoft's: a stage ends by merging
        "features_3_1/norm1/bias": "layers.1.blocks.1.norm1.bias",
        "features_2/norm/bias": "layers.0.downsample.norm.bias",
    },
    ("swin_v2", 2): {  # timm's: a stage begins by merging
        "features_3_1/norm1/bias": "layers.1.blocks.1.norm1.bias",
        "features_2/norm/bias": "layers.1.downsample.norm.bias",
    },
    ("convnext", 0): {
        "features_0_1/bias": "stem.1.bias",
        "features_3_2/block_5/bias": "stages.1.blocks.2.mlp.fc2.bias",
        "features_4_0/bias": "stages.2.downsample.0.bias",
    },
    ("dinov3", -1): {
        "cls_token": "embeddings.cls_token",
        "features_0_1/bias": "model.stages.0.downsample_layers.1.bias",
        "features_3_2/block_5/bias": "model.stages.1.layers.2.pointwise_conv2.bias",
        "features_4_0/bias": "model.stages.2.downsample_layers.0.bias",
    },
    ("efficientnet", 0): {
        "features_0/1/bias": "bn1.bias",
        "features_1_0/block_0/1/bias": "blocks.0.0.bn1.bias",
        "features_1_0/block_1/fc1/bias": "blocks.0.0.se.conv_reduce.bias",
        "features_1_0/block_2/1/bias": "blocks.0.0.bn2.bias",
        "features_7_1/block_1/1/bias": "blocks.6.1.bn2.bias",
        "features_7_1/block_2/fc2/bias": "blocks.6.1.se.conv_expand.bias",
        "features_7_1/block_3/1/bias": "blocks.6.1.bn3.bias",
        "features_8/1/bias": "bn2.bias",
    },
    ("efficientnet", 1): {
        "features_1_0/block_0/1/bias": "blocks.0.0.bn1.bias",
        "features_3_1/block_1/1/bias": "blocks.2.1.bn2.bias",
        "features_4_0/block_2/fc1/bias": "blocks.3.0.se.conv_reduce.bias",
    },
}
"""{(family, project of `TORCH_LAYOUTS`, or -1 for `TORCH_NAMES`): {path: name in the project's files}}."""


@pytest.mark.parametrize(("family", "project"), PLACES)
def test_stages_blocks_and_layers_are_numbered_as_the_projects_number_them(family, project):
    module, places = importlib.import_module(f"dlcore.models.{family}"), PLACES[family, project]
    rules = module.TORCH_NAMES if project < 0 else module.TORCH_LAYOUTS[project].names
    tree = {"params": unflatten_dict({path: np.zeros(1, np.float32) for path in places}, sep="/")}
    entries = {name: np.float32([i]) for i, name in enumerate(places.values())}
    found = flatten_dict(fill_from_torch(tree, entries, rules, what=family)["params"], sep="/")
    assert {path: int(value[0]) for path, value in found.items()} == {path: i for i, path in enumerate(places)}


def test_variables_are_put_in_place_by_their_paths():
    tree = {"params": {"head": {"kernel": np.ones(2), "bias": np.zeros(1)}}}
    found = put_variables(tree, lambda path, array: (path, array.sum()))
    assert found == {"params": {"head": {"kernel": ("params/head/kernel", 2), "bias": ("params/head/bias", 0)}}}
    assert put_variables(tree, None) is tree
