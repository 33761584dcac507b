"""Published architectures: a tiny network of its library, as a folder of the hub, gives what the library computes.

`write_golden.py` wrote the goldens; a new architecture is a new file of goldens/published.
"""

import fnmatch
import json
import pathlib

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from dlcore.models import create_model
from dlcore.pretrained import from_pretrained
from dlcore.pretrained.family import all_families, find_family
from tests.models.parity import GOLDENS, check_output, weight_rule

FILES = sorted(path.stem for path in (GOLDENS / "published").glob("*.npz"))
QUICK = ["hf_swin_model", "hf_resnet_backbone", "timm_regnety_002"]


def read_published(name: str, folder: pathlib.Path) -> tuple[dict, dict, dict]:
    """Write the folder that a hub would serve; (golden, meta, inputs)."""
    golden = np.load(GOLDENS / "published" / f"{name}.npz")
    meta = json.loads(str(golden["meta"]))
    weights = weight_rule().det_state_dict(meta)
    shapes = dict(map(tuple, meta["state_dict"]))
    weights = {key: value for key, value in weights.items() if key not in meta["tied"]}
    weights |= {key: np.zeros(shapes[key], np.int64) for key in meta["const"]}
    weights |= {key: np.ones(shapes[key], np.float32) for key in meta["const"] if key == "attn_mask_probs"}  # EoMT's
    save_file({key: np.ascontiguousarray(value) for key, value in weights.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(meta["config"]))
    return golden, meta, {key: np.asarray(weight_rule().det_input(spec)) for key, spec in meta["inputs"].items()}


def channels_first(value) -> np.ndarray:
    return np.moveaxis(np.asarray(value), -1, 1) if np.ndim(value) == 4 else np.asarray(value)


@pytest.mark.slow(unless=QUICK)
@pytest.mark.covers("PT-01", "PT-10", "ZO-34")
@pytest.mark.parametrize("name", FILES)
def test_an_architecture_computes_what_its_library_computes(name, tmp_path):
    golden, meta, inputs = read_published(name, tmp_path)
    outputs = from_pretrained(tmp_path)(**inputs)
    missing = meta["outputs"].keys() - outputs.keys()
    assert not missing, (missing, list(outputs))
    for key in meta["outputs"]:
        check_output(golden, meta, key, channels_first(outputs[key]))


COUNTS = json.loads((GOLDENS / "timm_counts.json").read_text())
PATTERNS = [pattern for family in all_families() if family.library == "timm" for pattern in family.architectures]
NAMES = [name for name in COUNTS if any(fnmatch.fnmatchcase(name, pattern) for pattern in PATTERNS)]


@pytest.mark.slow(unless=["regnety_002"])
@pytest.mark.weekly(unless=NAMES[::10])
@pytest.mark.covers("ZO-34")
@pytest.mark.parametrize("architecture", NAMES)
def test_an_architecture_of_timm_has_as_many_parameters(architecture):
    """Each name that a family takes, at its published size."""
    parameters, side, num_classes = COUNTS[architecture]
    settings = {"input_size": [3, side, side], "num_classes": num_classes}
    config = {"architecture": architecture, "num_classes": num_classes, "pretrained_cfg": settings}
    name, fields = find_family(config).model(config)
    image = np.zeros((1, side, side, 3), np.float32)
    shapes = jax.eval_shape(lambda: create_model(name, **fields).init(jax.random.key(0), image))["params"]
    assert sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes)) == parameters
