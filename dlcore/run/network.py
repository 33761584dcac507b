"""A frozen network to look into: the small VGG that comes with dlcore, or a run of the classification page.

The packed file holds `{"params/conv1_1/kernel": float16 array, ...}` and `meta`, a JSON text: model, fields, statistics
of the pixels, class names, and the command and the accuracy of the run that it was packed from. It was made by

    pack("runs/classification.supervised/HASH", supervised.page, "dlcore/interpretability/vgg9_cifar10.npz")
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from dlcore.models import create_model
from dlcore.run.classifier import classifier_of_run
from dlcore.run.page import Page

__all__ = ["PACKED", "Network", "load_network", "pack"]

PACKED = Path(__file__).parents[1] / "interpretability" / "vgg9_cifar10.npz"


class Network(NamedTuple):
    """A classifier and its variables; mean, std: [C], of the pixels in [0, 1] that it was trained on."""

    model: nn.Module
    variables: Any
    mean: np.ndarray
    std: np.ndarray
    class_names: tuple[str, ...]
    side: int


def load_network(run: str | Path | None = None, page: Page | None = None) -> Network:
    """The packed network, or the classifier of the run folder `run`, a run of `page`.

    Raises:
      ValueError: the folder holds no run of the page. FileNotFoundError: it holds no checkpoint.
    """
    if run is None:
        with np.load(PACKED) as file:
            meta = json.loads(str(file["meta"]))
            leaves = {tuple(name.split("/")): file[name].astype(np.float32) for name in file.files if name != "meta"}
    elif page is None:
        raise ValueError(f"page is None: {str(run)!r} must be a run of some page")
    else:
        meta, leaves = _from_run(run, page)
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in meta["fields"].items()}
    return Network(
        create_model(meta["model"], num_classes=len(meta["class_names"]), **fields),
        unflatten_dict(leaves),
        np.asarray(meta["mean"], np.float32),
        np.asarray(meta["std"], np.float32),
        tuple(meta["class_names"]),
        meta["side"],
    )


def pack(run: str | Path, page: Page, path: str | Path) -> None:
    """Write the classifier of a finished run to one small file, in float16."""
    meta, leaves = _from_run(run, page)
    arrays = {"/".join(name): leaf.astype(np.float16) for name, leaf in leaves.items()}
    np.savez_compressed(path, meta=json.dumps(meta), **arrays)


def _from_run(run: str | Path, page: Page) -> tuple[dict, dict[tuple[str, ...], np.ndarray]]:
    setup, variables = classifier_of_run(run, page)
    flags, spec = setup.flags, setup.spec
    config, result = (
        json.loads(path.read_text()) if path.exists() else {}
        for path in (Path(run) / "config.json", Path(run) / "result.json")
    )
    meta = {
        "model": flags.model, "fields": flags.group("model"), "side": spec["image_shape"][0],
        "mean": spec["mean"], "std": spec["std"], "class_names": spec["class_names"], "dataset": spec["dataset"],
        "command": _portable(result.get("command")), "test_accuracy": result.get("value"),
        "commit": config.get("commit"),
    }  # fmt: skip
    return meta, flatten_dict(variables)


def _portable(command: str | None) -> str | None:
    """A command without the places of one machine."""
    words = (command or "").split()
    kept = [w for w in words if not w.startswith(("--runs=", "--run_dir="))]
    return " ".join("--data_dir=$DATA_DIR" if w.startswith("--data_dir=") else w for w in kept) or None
