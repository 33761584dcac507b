"""from_pretrained: folders as hubs serve them against what their libraries compute; a local server is the hub."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from dlcore.models.normalization import IMAGENET, normalization
from dlcore.pretrained import door, from_pretrained
from dlcore.pretrained.family import Family, find_family
from dlcore.pretrained.network import Pretrained
from dlcore.pretrained.snapshot import open_snapshot
from dlcore.pretrained.torchvision_names import torchvision_weights
from tests.pretrained.hub_server import COMMIT, Hub, serve

HUB = pathlib.Path(__file__).parents[1] / "goldens" / "hub"
FOLDERS = sorted(folder.name for folder in HUB.iterdir())
QUICK = ["google--vit-tiny"]


def read_expected(name: str) -> tuple[dict, dict, np.ndarray | None]:
    """(inputs, outputs, photograph) of a folder."""
    with np.load(HUB / name / "expected.npz") as file:
        arrays = dict(file)
    inputs = {key[3:]: value for key, value in arrays.items() if key.startswith("in.")}
    if "points" in inputs:  # in pixels of the photograph
        inputs["original_sizes"] = np.array([arrays["image"].shape[:2]])
    return inputs, {key[4:]: value for key, value in arrays.items() if key.startswith("out.")}, arrays.get("image")


def channels_first(value: jax.Array) -> np.ndarray:
    return np.moveaxis(np.asarray(value), -1, 1) if value.ndim == 4 else np.asarray(value)


def check_outputs(outputs: dict, expected: dict, tolerance: float) -> None:
    for key, reference in expected.items():
        value = channels_first(outputs[key])
        value = value[0] if key == "masks_at_original_size" else value  # of the only image
        chex.assert_equal_shape([value, reference])
        assert np.abs(value - reference).max() <= tolerance * reference.std(), key


@pytest.mark.slow(unless=QUICK)
@pytest.mark.covers("PT-01")
@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_computes_what_its_library_computes(name):
    net = from_pretrained(HUB / name)
    inputs, expected, photograph = read_expected(name)
    check_outputs(net(**inputs), expected, 1e-4)
    if photograph is None:
        return
    others = {key: value for key, value in inputs.items() if key not in ("pixel_values", "pixel_mask", "x")}
    outputs = net(photograph, **others)
    first = net.family.inputs[0]
    prepared = net.preprocess(photograph)["pixel_values"].transpose(0, 3, 1, 2)
    gray_level = 1 / 255 / min(net.preprocess.std or (1,))
    assert np.abs(prepared - inputs[first]).max() <= 1.001 * gray_level
    # A gray level moves these random networks by so much; the nine steps of Mask2Former most.
    check_outputs(outputs, expected, 0.1 if "mask2former" in name else 0.08)


@pytest.fixture(scope="module")
def vit():
    return from_pretrained(HUB / "google--vit-tiny")


def test_a_network_says_its_classes_and_takes_photographs_of_several_sizes(vit):
    assert vit.classes == ("cat", "dog", "zebra", "bus", "apple")
    photographs = [np.zeros((20, 30, 3), np.uint8), np.zeros((40, 40), np.uint8)]
    chex.assert_shape(vit(photographs)["logits"], (2, 5))


def test_channels_first_and_last_are_the_same(vit):
    inputs, _, _ = read_expected("google--vit-tiny")
    first = inputs["pixel_values"]
    last = first.transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(vit(pixel_values=first)["logits"], vit(pixel_values=last)["logits"])


@pytest.mark.slow
def test_a_new_head_and_another_dtype(vit):
    net = from_pretrained(HUB / "google--vit-tiny", num_classes=3, dtype=jnp.bfloat16)
    assert net.classes is None
    program = jax.make_jaxpr(net.model.apply)(net.variables, np.zeros((1, 32, 32, 3), np.float32))
    assert "bf16[" in str(program)
    assert [value.shape for value in program.out_avals] == [(1, 3)]
    chex.assert_type(jax.tree.leaves(net.variables), jnp.float32)
    np.testing.assert_array_equal(
        net.variables["params"]["blocks_0"]["mlp"]["fc1"]["kernel"],
        vit.variables["params"]["blocks_0"]["mlp"]["fc1"]["kernel"],
    )


def test_unknown_and_missing_inputs_are_refused(vit):
    with pytest.raises(ValueError, match=r"pixels: no input of vit_b_16; allowed: pixel_values"):
        vit(pixels=np.zeros((1, 32, 32, 3), np.float32))
    with pytest.raises(ValueError, match=r"images: missing; allowed: photographs, or pixel_values as arrays"):
        vit()


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(HUB / "google--vit-tiny", tmp_path / "folder")


def edit(folder: pathlib.Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_errors_name_missing_weights_and_unknown_architectures(folder):
    with pytest.raises(FileNotFoundError, match=r"no such folder or file; allowed: a hub id such as"):
        from_pretrained("./nowhere")
    with pytest.raises(FileNotFoundError, match=r"such as timm/resnet50\.\* \(create_model\('resnet50'\) builds it"):
        from_pretrained("resnet5O")
    edit(folder, architectures=["ViTForImageClasification"])
    with pytest.raises(ValueError, match=r"transformers's ViTForImageClasification is not in dlcore \(close: ViTForIm"):
        from_pretrained(folder)
    edit(folder, architectures=["ViTForImageClassification"], num_hidden_layers=3)
    with pytest.raises(ValueError, match=r"it does not fit vit_b_16; 16 missing: layers.2.attention"):
        from_pretrained(folder)
    edit(folder, num_hidden_layers=1)
    with pytest.raises(ValueError, match=r"left over: layers.1"):
        from_pretrained(folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"bytes, where its header says .*; allowed: the whole file"):
        from_pretrained(folder)
    deep = b"[" * 100_000
    weights.write_bytes(len(deep).to_bytes(8, "little") + deep)
    with pytest.raises(ValueError, match=r"100,008 bytes without a whole header"):
        from_pretrained(folder)
    weights.write_bytes(b"12")
    with pytest.raises(ValueError, match=r"2 bytes without a whole header"):
        from_pretrained(folder)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no weights; allowed: one of model.safetensors, "):
        from_pretrained(folder)
    for text in ("{", "[" * 100_000):
        (folder / "config.json").write_text(text)
        with pytest.raises(ValueError, match=r"config.json: not JSON"):
            from_pretrained(folder)
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no config.json; allowed: a folder as a hub serves it"):
        from_pretrained(folder)


def test_a_configuration_of_no_library_is_refused():
    with pytest.raises(ValueError, match=r"config.json: names no network \(it has a, b\); allowed: architectures"):
        find_family({"a": 1, "b": 2})
    with pytest.raises(ValueError, match=r"names no network \(it has a, b, c, d, e\); allowed: architectures"):
        find_family(dict.fromkeys("abcdef", 1))


def test_of_an_unknown_architecture_the_three_closest_are_named():
    with pytest.raises(ValueError, match=r"timm's resnet17 is not in dlcore \(close: resnet18(, resnet\w+){2}\); a"):
        find_family({"architecture": "resnet17"})
    with pytest.raises(ValueError, match=r"timm's tf_efficientnet_b9 is not in dlcore \(close: tf_efficientnet_"):
        find_family({"architecture": "tf_efficientnet_b9"})


@pytest.mark.parametrize(
    ("name", "model", "resize", "crop", "resample"),
    [
        ("ResNet50_Weights.IMAGENET1K_V2", "resnet50", 232, 224, "bilinear"),
        ("ResNet18_Weights.IMAGENET1K_V1", "resnet18", 256, 224, "bilinear"),
        ("ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1", "vit_b_16", 384, 384, "bicubic"),
        ("ViT_B_16_Weights.IMAGENET1K_SWAG_LINEAR_V1", "vit_b_16", 224, 224, "bicubic"),
        ("ConvNeXt_Tiny_Weights.IMAGENET1K_V1", "convnext_tiny", 236, 224, "bilinear"),
        ("Swin_S_Weights.IMAGENET1K_V1", "swin_s", 246, 224, "bicubic"),
        ("EfficientNet_B1_Weights.IMAGENET1K_V2", "efficientnet_b1", 255, 240, "bilinear"),
        ("EfficientNet_B1_Weights.IMAGENET1K_V1", "efficientnet_b1", 256, 240, "bicubic"),
        ("EfficientNet_V2_L_Weights.IMAGENET1K_V1", "efficientnet_v2_l", 480, 480, "bicubic"),
        ("EfficientNet_V2_S_Weights.IMAGENET1K_V1", "efficientnet_v2_s", 384, 384, "bilinear"),
        ("RegNet_Y_32GF_Weights.IMAGENET1K_SWAG_E2E_V1", "regnet_y_32gf", 384, 384, "bicubic"),
        ("ViT_H_14_Weights.IMAGENET1K_SWAG_E2E_V1", "vit_h_14", 518, 518, "bicubic"),
        ("Swin3D_B_Weights.KINETICS400_IMAGENET22K_V1", "swin3d_b", 256, 224, "bilinear"),
    ],
)
def test_names_of_torchvisions_weights(name, model, resize, crop, resample):
    weights = torchvision_weights(name)
    assert (weights.model, weights.processor.shortest, weights.processor.crop) == (model, resize, (crop, crop))
    assert (weights.processor.resample, weights.image_size) == (resample, crop)
    mean, _ = normalization(model) if model in ("efficientnet_v2_l", "swin3d_b") else IMAGENET
    assert weights.processor.mean == mean


SIDES = """236 224 ConvNeXt_Tiny, 230 224 ConvNeXt_Small, 232 224 ConvNeXt_Base, 232 224 ConvNeXt_Large,
    256 224 EfficientNet_B0, 256 240 EfficientNet_B1, 288 288 EfficientNet_B2, 320 300 EfficientNet_B3,
    384 380 EfficientNet_B4, 456 456 EfficientNet_B5, 528 528 EfficientNet_B6, 600 600 EfficientNet_B7,
    384 384 EfficientNet_V2_S, 480 480 EfficientNet_V2_M, 480 480 EfficientNet_V2_L, 342 299 Inception_V3,
    224 224 MaxVit_T, 232 224 MNASNet0_75, 232 224 MNASNet1_3, 232 224 ResNeXt101_64X4D, 232 224 ShuffleNet_V2_X1_5,
    232 224 ShuffleNet_V2_X2_0, 232 224 Swin_T, 246 224 Swin_S, 238 224 Swin_B, 260 256 Swin_V2_T, 260 256 Swin_V2_S,
    272 256 Swin_V2_B, 256 224 ViT_B_16, 242 224 ViT_L_16, 256 224 MNASNet1_0, 256 224 DenseNet121"""
"""resize_size and crop_size in torchvision's documentation of the weights IMAGENET1K_V1."""


def test_photographs_are_as_large_as_torchvision_documents():
    for row in SIDES.split(","):
        resize, crop, name = row.split()
        weights = torchvision_weights(f"{name}_Weights.IMAGENET1K_V1")
        found = weights.processor.shortest, weights.processor.crop, weights.image_size
        assert found == (int(resize), (int(crop), int(crop)), int(crop)), name
    assert torchvision_weights("ViT_L_16_Weights.IMAGENET1K_SWAG_E2E_V1").image_size == 512
    for name in ("MC3_18", "R3D_18"):
        frames = torchvision_weights(f"{name}_Weights.KINETICS400_V1")
        assert (frames.processor.size, frames.image_size) == ((128, 171), 112)
    assert torchvision_weights("resnet50") is None


def test_frames_of_torchvisions_networks_of_clips():
    """S3D and the residual networks stretch frames; each family has statistics of its own."""
    for name, size, crop, mean in (
        ("S3D_Weights.KINETICS400_V1", (256, 256), 224, 0.43216),
        ("R2Plus1D_18_Weights.KINETICS400_V1", (128, 171), 112, 0.43216),
        ("MViT_V2_S_Weights.KINETICS400_V1", None, 224, 0.45),
    ):
        weights = torchvision_weights(name)
        assert weights.model == name.partition("_Weights")[0].lower()
        assert (weights.processor.size, weights.processor.crop) == (size, (crop, crop))
        assert weights.processor.mean[0] == mean


def test_torchvisions_weights_want_their_file():
    with pytest.raises(ValueError, match=r"file is missing; allowed: file=PATH of its .pth"):
        from_pretrained("ResNet50_Weights.IMAGENET1K_V2")
    with pytest.raises(ValueError, match=r"file='x.pth': of no use beside"):
        from_pretrained("google/vit", file="x.pth")


@pytest.fixture(scope="module")
def hub():
    hub = Hub()
    hub.repositories = dict.fromkeys(("google/vit-tiny", "acme/gated", "acme/private"), HUB / "google--vit-tiny")
    hub.statuses = {"acme/gated": 403, "acme/private": 401}
    return hub


@pytest.fixture(scope="module")
def address(hub):
    pytest.importorskip("huggingface_hub")
    with serve(hub) as address, pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.ENDPOINT", address)
        patch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            address + "/{repo_id}/resolve/{revision}/{filename}",
        )
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        yield address


@pytest.mark.covers("PT-01")
def test_a_hub_id_is_downloaded_once_and_read_offline(hub, address, tmp_path):
    snapshot = open_snapshot("google/vit-tiny", cache_dir=tmp_path)
    assert len(snapshot.weights) == 40
    assert snapshot.processor["image_processor_type"] == "ViTImageProcessor"
    before = len(hub.requests)
    open_snapshot("hf:google/vit-tiny", cache_dir=tmp_path)
    assert not any(request.startswith("GET") for request in hub.requests[before:])
    before = len(hub.requests)
    assert len(open_snapshot("google/vit-tiny", cache_dir=tmp_path, offline=True).weights) == 40
    assert len(hub.requests) == before
    with pytest.raises(
        FileNotFoundError, match=r"no such repository, or it is private \(the cache has google/vit-tiny\)"
    ):
        open_snapshot("google/vit-tinny", cache_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"revision='v9': no such revision"):
        open_snapshot("google/vit-tiny", revision="v9", cache_dir=tmp_path)
    with pytest.raises(ConnectionError, match=r"not in the cache, .*; allowed offline: the cache has google/vit-tiny"):
        open_snapshot("google/other", cache_dir=tmp_path, offline=True)


def test_a_cached_file_that_changed_on_the_disk_is_named_and_kept(hub, address, tmp_path):
    """Its own revision is cached, and no main: what a download of now got is deleted, what was there before is not."""
    options = {"revision": COMMIT, "cache_dir": tmp_path}
    open_snapshot("hf-hub:google/vit-tiny", **options)
    (link,) = tmp_path.rglob("model.safetensors")
    stored = link.resolve()
    stored.write_bytes(stored.read_bytes()[:-1] + b"x")
    with pytest.raises(
        ValueError, match=r"SHA-256 is \w{12}\.\.\., the hub's \w{12}\.\.\.; .*; delete .* to download it ag"
    ):
        open_snapshot("google/vit-tiny", **options)
    assert stored.read_bytes()[-1:] == b"x"


def test_shards_of_the_hub_are_downloaded_by_their_index(hub, address, tmp_path, monkeypatch):
    """The repository says nothing of photographs, which is no error, with a hub and without."""
    files = {"model-1.safetensors": "a", "model-2.safetensors": "b", "other.safetensors": "c"}
    folder = tmp_path / "repository"
    folder.mkdir()
    for file, name in files.items():
        save_file({name: np.full(2, ord(name), np.float32)}, folder / file)
    weight_map = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text('{"architectures": ["X"]}')
    monkeypatch.setitem(hub.repositories, "acme/shards", folder)
    for offline in (False, True):
        snapshot = open_snapshot("acme/shards", cache_dir=tmp_path / "cache", offline=offline)
        assert {name: np.asarray(value).tolist() for name, value in snapshot.weights.items()} == {
            "a": [97, 97],
            "b": [98, 98],
        }
        assert (snapshot.config, snapshot.processor) == ({"architectures": ["X"]}, {})
    assert not list((tmp_path / "cache").rglob("other.safetensors"))
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks model-2\.safetensors of its index; allowed: all files of it"):
        open_snapshot(folder)
    with pytest.raises(FileNotFoundError, match=r"lacks model-2\.safetensors of its index"):
        open_snapshot("acme/shards", cache_dir=tmp_path / "other")
    for file, lacks in (("model.safetensors.index.json", "weights of a known name"), ("config.json", "config.json")):
        (folder / file).unlink()
        with pytest.raises(FileNotFoundError, match=rf"the repository lacks {lacks}; allowed: model.safetensors, "):
            open_snapshot("acme/shards", cache_dir=tmp_path / "last")


def test_a_token_opens_a_gated_repository(hub, address, tmp_path):
    with pytest.raises(PermissionError, match=r"ask on its page, then pass token=... or set HF_TOKEN"):
        open_snapshot("acme/gated", cache_dir=tmp_path)
    with pytest.raises(ConnectionError, match=r"401 Unauthorized.*; allowed: an id of the hub, with token="):
        open_snapshot("acme/private", cache_dir=tmp_path)
    assert len(open_snapshot("acme/gated", token="secret", cache_dir=tmp_path).weights) == 40


def test_a_byte_that_changed_on_the_way_is_seen(hub, address, tmp_path):
    hub.flipped.add("model.safetensors")
    try:
        with pytest.raises(ValueError, match=r"its SHA-256 is .*, the hub's .*; allowed: the file as published"):
            open_snapshot("google/vit-tiny", cache_dir=tmp_path)
    finally:
        hub.flipped.clear()
    assert not list(tmp_path.rglob("model.safetensors"))
    assert len(open_snapshot("google/vit-tiny", cache_dir=tmp_path).weights) == 40


def test_without_a_network_the_cache_is_named(hub, address, tmp_path, monkeypatch):
    open_snapshot("google/vit-tiny", cache_dir=tmp_path)
    files = sorted(tmp_path.rglob("*"))
    closed = "http://127.0.0.1:9"
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client tries again and again
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", closed)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", closed + "/{repo_id}/resolve/{revision}/{filename}"
    )
    with pytest.raises(ConnectionError, match=r"the cache has google/vit-tiny"):
        open_snapshot("google/other", cache_dir=tmp_path)
    assert sorted(tmp_path.rglob("*")) == files


@pytest.mark.slow
def test_a_download_that_breaks_off_leaves_the_cache_as_it_was(hub, address, tmp_path):
    hub.cut.add("model.safetensors")
    try:
        with pytest.raises(ConnectionError, match=r"the download broke off \(.*\); allowed: another try"):
            open_snapshot("google/vit-tiny", cache_dir=tmp_path)
    finally:
        hub.cut.clear()
    assert not list(tmp_path.rglob("model.safetensors"))
    assert len(open_snapshot("google/vit-tiny", cache_dir=tmp_path).weights) == 40


def test_importing_the_door_imports_neither_torch_nor_the_hub():
    program = (
        "import sys; import dlcore.models; from dlcore.pretrained import from_pretrained; "
        "print(sorted({'torch', 'huggingface_hub', 'safetensors', 'PIL', 'orbax'} & {*sys.modules}))"
    )
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"


FILE = pathlib.Path(__file__).parents[1] / "models" / "torch_files" / "zip.pth"


def test_weights_of_torchvision_are_loaded_by_the_fields_of_their_name(monkeypatch):
    """With a head of another number of classes it is replaced; weights of clips have 400 classes, which are loaded."""
    calls = []

    def load(name, weights, **options):
        calls.append((name, "weight" in weights, options))
        if options.get("dtype") == "broken":
            raise ValueError("no such weights")
        return {"params": {"head": {"kernel": 1}, "stem": {"kernel": 2}}}

    monkeypatch.setattr(door, "load_torch", load)
    net = from_pretrained("ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1", file=FILE, num_classes=5, dropout=0.1)
    fields = {"image_size": 384, "dropout": 0.1, "num_classes": 5}
    assert (net.name, net.fields, net.classes) == ("vit_b_16", fields, None)
    assert (net.model.image_size, net.model.num_classes, net.preprocess.crop) == (384, 5, (384, 384))
    assert net.family.outputs(SimpleNamespace(num_classes=5, apply=lambda *_: 7), None, {"x": 0}) == {"logits": 7}
    assert calls.pop() == ("vit_b_16", True, {"replace_head": True, "put": None, **fields})
    net = from_pretrained("ResNet18_Weights.IMAGENET1K_V1", file=FILE, num_classes=1000)
    assert (net.name, net.fields) == ("resnet18", {})
    assert calls.pop() == ("resnet18", True, {"replace_head": False, "put": None})
    net = from_pretrained("R3D_18_Weights.KINETICS400_V1", file=FILE, num_classes=0)
    assert (net.fields, net.variables) == ({"num_classes": 0}, {"params": {"stem": {"kernel": 2}}})
    assert calls.pop() == ("r3d_18", True, {"put": None, "num_classes": 400})
    with pytest.raises(ValueError, match=r"source='ResNet18_Weights.IMAGENET1K_V1', file='.*zip.pth': no such weights"):
        from_pretrained("ResNet18_Weights.IMAGENET1K_V1", file=FILE, dtype="broken")


def test_a_network_says_its_name_and_fields_and_what_it_cannot_read():
    def outputs(model, variables, inputs):
        raise TypeError("a product of (2,) and (3,)")

    family = Family("timm", ("x",), dict, outputs, ("x|image",))
    net = Pretrained("resnet18", {"num_classes": 3}, None, None, family, {}, None, None)
    assert repr(net) == "Pretrained('resnet18', {'num_classes': 3})"
    with pytest.raises(
        ValueError, match=r"images: resnet18 has no processor for photographs; allowed: x\|image as arr"
    ):
        net(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(
        ValueError, match=r"x=\[2\]: no inputs of resnet18 \(a product of .*\); allowed: shapes as publ"
    ):
        net(x=np.zeros(2, np.float32))


def test_a_local_folder_s_files_are_not_compared_with_their_names(tmp_path):
    """A link into a cache, as `huggingface_hub` makes it, of a file that is trusted: its name is no hash of it."""
    save_file({"a": np.ones(2, np.float32)}, tmp_path / ("0" * 64))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.safetensors").symlink_to(tmp_path / ("0" * 64))
    (tmp_path / "folder" / "config.json").write_text('{"architectures": ["X"]}')
    assert np.asarray(open_snapshot(tmp_path / "folder").weights["a"]).tolist() == [1, 1]


def test_an_array_of_a_file_is_read_when_it_is_asked_for():
    array = open_snapshot(HUB / "google--vit-tiny").weights["classifier.weight"]
    assert (array.shape, array.ndim, len(array)) == ((5, 32), 2, 5)
    np.testing.assert_array_equal(array[1:3, 4], np.asarray(array)[1:3, 4])
    assert (np.asarray(array).dtype, np.asarray(array, np.float16).dtype) == (np.float32, np.float16)
