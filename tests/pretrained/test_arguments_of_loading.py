"""Arguments of another type, and names that fit no head, are refused before a network is read or written."""

import jax
import numpy as np
import pytest

from dlcore.models import create_model
from dlcore.models.backbone import add_mlp_head
from dlcore.models.repvgg import fold_branches
from dlcore.models.torch_weights import count_classes, published_names
from dlcore.models.weight_files import read_npz, read_state_dict, unwrap_state_dict
from dlcore.pretrained import from_pretrained, open_snapshot, save_pretrained
from dlcore.pretrained.door import _placement
from dlcore.pretrained.family import find_family
from dlcore.pretrained.network import Pretrained
from dlcore.pretrained.publish import _with_other_classes
from tests.pretrained.test_values_of_configurations import HUB

FOLDER = HUB / "google--vit-tiny"
VIT = Pretrained(
    "vit_b_16", {}, None, {}, find_family({"architectures": ["ViTForImageClassification"]}), {}, None, None
)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: open_snapshot(None), "source: a NoneType; allowed: str"),
        (lambda: open_snapshot(FOLDER, revision=3), "revision: a int; allowed: str"),
        (lambda: open_snapshot(FOLDER, token=b"secret"), "token: a bytes; allowed: str"),
        (lambda: from_pretrained(FOLDER, offline="no"), "offline: a str; allowed: bool"),
        (lambda: from_pretrained(FOLDER, cache_dir=3), "cache_dir: a int; allowed: str"),
        (lambda: _placement(lambda path, shape: None, None)("a", np.zeros(2)), r"sharding\('a'\)=None: no sharding"),
        (lambda: save_pretrained(None, FOLDER, {}), "folder=None: a NoneType; allowed: paths"),
        (lambda: save_pretrained("new", FOLDER, {}, "cat"), "class_names='cat': no names; allowed: different words"),
        (lambda: save_pretrained("new", FOLDER, {}, ("a", "a")), "class_names=.*: no names"),
        (lambda: save_pretrained("new", FOLDER, {}, (1, 2)), "class_names=.*: no names"),
        (
            lambda: _with_other_classes({"a": np.zeros(5)}, lambda e: e, {"a": np.ones(5)}, (5, 3), "source"),
            "class_names: 3 names for a head of 5 classes; allowed: one name a class",
        ),
        (lambda: VIT(pixel_values=None), "pixel_values: a NoneType; allowed: arrays of numbers"),
        (lambda: VIT(pixel_values=[[1.0], [2.0, 3.0]]), "pixel_values: a list; allowed: arrays of numbers"),
        (lambda: VIT(pixel_values=np.zeros((0, 8, 8, 3))), r"pixel_values.shape=\(0, 8, 8, 3\): no example"),
        (lambda: add_mlp_head(create_model("resnet8_cifar"), 2.5), "units=2.5: no whole number"),
        (lambda: add_mlp_head(None, 2), "model: a NoneType; allowed: image classifiers"),
        (lambda: published_names("lenet5", project=7), "project=7: out of range; allowed: -1 to"),
        (lambda: published_names("lenet5", project=0.5), "project=0.5: no whole number"),
        (lambda: read_state_dict(None), "path=None: a NoneType; allowed: paths"),
        (lambda: read_npz(3), "path=3: a int; allowed: paths"),
        (lambda: unwrap_state_dict([1]), "state_dict: a list; allowed: {name: array}"),
        (lambda: count_classes("lenet5", {1: np.zeros(2)}), "state_dict: a dict; allowed: {name: array}"),
        (lambda: fold_branches({}), "variables: no parameters; allowed"),
    ],
)
def test_arguments_that_make_no_sense_are_named(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def test_a_sharding_for_each_array_is_kept():
    where = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    assert _placement(lambda path, shape: where, None)("a", np.zeros(2)).sharding == where
