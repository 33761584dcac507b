"""Trained weights of any source: a run, a folder of `dlcore convert`, a packed .npz, or a published network.

weights = open_weights("runs/classification.supervised/1f0c2b7d9e", "init_from")
weights.model, weights.class_names, weights.mean     read at once, from the text files of the source
weights.variables()                                  reads the arrays, as the network was tested
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import unflatten_dict

from dlcore.data.fingerprint import Fingerprint
from dlcore.data.splits import Spec
from dlcore.experiment.flags import Flags
from dlcore.experiment.published import backbone_name
from dlcore.experiment.run_data import known_data
from dlcore.models.normalization import normalization
from dlcore.models.registry import kind_of
from dlcore.models.weight_files import read_npz
from dlcore.pretrained.door import from_pretrained, is_published, read_about
from dlcore.run.json_files import read_json
from dlcore.transfer.methods import merge_adapter
from dlcore.weights.read import TestedWeights, load_weights, read_tested_weights

__all__ = ["PUBLISHED", "Weights", "open_weights"]

PUBLISHED = "published"
"""Entry of `Weights.spec` of weights that `from_pretrained` loads."""
ALLOWED = "the folder of a run, a folder that `dlcore convert` wrote, a packed .npz, or hf:ORG/NAME"


class Weights(NamedTuple):
    """Trained weights of a source; its arrays are read by `variables` and `read` alone.

    Args:
      argument: name of the flag that names the weights, such as init_from.
      path: folder of a run or of `dlcore convert`, or a packed .npz.
      page: name of the run's experiment; None for converted and packed weights.
      model: name of the model or backbone; None if it is not in the zoo.
      fields: fields of the model that differ from their defaults.
      mean: [C], mean of the pixels in [0, 1] that normalized the images; None without normalization.
      std: [C], standard deviation of the same pixels.
      class_names: names of the classes; None if not recorded.
      spec: recorded facts of the data.
      settings: settings of the run; {} for converted and packed weights.
      technique: module of the run's learner, such as dlcore.detection.fcos; "" if not recorded.
      monitor_mode: whether the largest ("max") or smallest ("min") score is the run's best; None if not recorded.
      known: split -> fingerprint of the run's examples; {} if not recorded.
      checkpoint: step of the run's newest checkpoint; None without a checkpoint.
      finished: whether the run has finished; True for weights without a run.
      initializes: whether the experiment's own weights, or their targets, are initialized from these, so that images
        must have their normalization; False for a network that only measures.
    """

    argument: str
    path: Path
    page: str | None = None
    model: str | None = None
    fields: dict[str, Any] = {}
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    class_names: tuple[str, ...] | None = None
    spec: Spec = {}
    settings: dict[str, Any] = {}
    technique: str = ""
    monitor_mode: str | None = None
    known: dict[str, Fingerprint] = {}
    checkpoint: int | None = None
    finished: bool = True
    initializes: bool = True

    @property
    def name(self) -> str:
        """The flag and its value, the first words of an error."""
        return f"{self.argument}={str(self.path)!r}"

    @property
    def flags(self) -> Flags:
        """The settings of the run, with its modules' fields as groups."""
        groups: dict[str, tuple[str, ...]] = {}
        for name in self.settings:
            group = name.rpartition(".")[0]
            groups[group] = (*groups.get(group, ()), name)
        return Flags(self.settings, groups)

    @property
    def topics(self) -> set[str]:
        """Topics of the run: that of its page, and that of its technique, which a page outside the checkout has too."""
        return {(self.page or "").partition(".")[0], *self.technique.split(".")[1:2]}

    @property
    def backbone(self) -> str | None:
        """The name of the backbone: a published detector's or segmenter's own, else the model's."""
        if self.model is None:
            return None
        kind = kind_of(self.model) if self.page is None else None
        if kind == "detection" or self.fields.get("backbone") is not None:
            return backbone_name(self.model, self.fields)
        return self.model.partition("_")[2] if kind == "segmentation" else self.model

    def in_model(self, fields: Mapping[str, Any]) -> "Weights":
        """Set the image statistics of published weights in a model with other fields, such as `transform_input`.

        Args:
          fields: fields of the model that receives the weights.
        """
        if self.page is not None or self.model is None or self.mean != normalization(self.model, self.fields).mean:
            return self
        statistics = normalization(self.model, {**self.fields, **fields})
        return self._replace(mean=statistics.mean, std=statistics.std)

    def variables(self) -> dict[str, Any]:
        """Read the arrays.

        Returns:
          Variables of the network, NumPy arrays: of a run as it was tested, with its adapter written into the network.
        """
        if self.page is not None:
            variables = self.read().variables
            try:
                return merge_adapter(self.settings, variables) if "frozen" in variables else variables
            except ValueError as error:
                raise ValueError(f"{self.name}: trained with --adapt={self.settings['adapt']}: {error}") from None
        if self.path.suffix == ".npz":
            leaves = {k: v.astype(np.float32) for k, v in _read_packed(self.path, self.name).items() if k != "meta"}
            return unflatten_dict({tuple(key.split("/")): array for key, array in leaves.items()})
        if self.spec.get(PUBLISHED):
            return jax.tree.map(np.asarray, from_pretrained(str(self.path)).variables)
        return load_weights(self.path)[1]

    def read(self, *fields: str) -> TestedWeights:
        """Read the arrays of a run as it was tested; one that recorded no `monitor_mode`, at the step of its result.

        Args:
          *fields: further fields of the run's state, such as codebook.
        """
        selects_best, step = self.settings.get("select") == "best", None
        if selects_best and self.monitor_mode is None:
            if not self.finished:
                raise ValueError(
                    f"{self.name}: unfinished, and its config.json has no monitor_mode, as those of older versions; "
                    "allowed: a finished run, or config.json with monitor_mode, max or min"
                )
            step = read_json(self.path / "result.json", ["step"])["step"]
        mode, average = self.monitor_mode if selects_best else None, bool(self.settings.get("ema"))
        return read_tested_weights(self.path, mode=mode, step=step, average=average, fields=fields)


def open_weights(source: str | Path, argument: str) -> Weights:
    """Open trained weights, without reading their arrays.

    Args:
      source: the folder of a run, a folder of `dlcore convert`, a packed .npz, hf:ORG/NAME, or a folder as a hub serves
        it.
      argument: name of the flag that names the source.
    """
    path = Path(source)
    if not path.exists():
        return _open(path, argument)
    files = [path, *sorted(path.iterdir())] if path.is_dir() else [path]
    stats = [(file, file.lstat()) for file in files]
    return _open_once(path, argument, tuple((file, stat.st_mtime_ns, stat.st_size) for file, stat in stats))


@functools.lru_cache(maxsize=8)
def _open_once(path: Path, argument: str, files: tuple[tuple, ...]) -> Weights:
    """Open a source, again only where one of its files has changed."""
    return _open(path, argument)


def _open(path: Path, argument: str) -> Weights:
    if path.suffix == ".npz" and path.exists():
        return _open_packed(path, argument)
    if is_published(path):
        return _open_published(path, argument)
    if (path / "config.json").exists():
        return _open_run(path, argument)
    if (path / "model.json").exists():
        return _open_converted(path, argument)
    raise ValueError(f"{argument}={str(path)!r}: holds no trained network; allowed: {ALLOWED}")


def _read_packed(path: Path, name: str, keys: list[str] | None = None) -> dict[str, np.ndarray]:
    try:
        return read_npz(path, keys)
    except ValueError:
        raise ValueError(f"{name}: empty, damaged or no .npz; allowed: an .npz that `pack` wrote") from None


def _open_packed(path: Path, argument: str) -> Weights:
    name = f"{argument}={str(path)!r}"
    stored = _read_packed(path, name, ["meta"])
    try:
        meta = json.loads(str(stored["meta"])) if stored else None
    except ValueError:
        raise ValueError(f"{name}: empty, damaged or no .npz; allowed: an .npz that `pack` wrote") from None
    if not isinstance(meta, dict) or not isinstance(meta.get("class_names"), list):
        raise ValueError(f"{name}: holds no `meta` with class_names; allowed: an .npz that `pack` wrote")
    spec = {k: meta[k] for k in ("dataset", "side", "input_size") if k in meta}
    spec["num_classes"] = len(meta["class_names"])
    return _weights(argument, path, meta, meta.get("class_names"), spec)


def _open_converted(path: Path, argument: str) -> Weights:
    meta = read_json(path / "model.json", ["model"])
    if not isinstance(meta["model"], str) or not isinstance(meta.get("fields", {}), dict):
        raise ValueError(f"{path / 'model.json'}: no model with fields; allowed: the file that `dlcore convert` wrote")
    statistics = normalization(meta["model"], meta.get("fields"))._asdict()
    spec = {key: meta[key] for key in ("num_classes", "headless") if key in meta}
    return _weights(argument, path, statistics | meta, meta.get("class_names"), spec)


def _open_published(path: Path, argument: str) -> Weights:
    about = read_about(str(path))
    processor = about.preprocess
    channels = (0.0,) * 3, (1.0,) * 3
    mean, std = channels if processor is None or processor.mean is None else (processor.mean, processor.std)
    fields = {name: value for name, value in about.fields.items() if name != "num_classes"}
    spec = {"num_classes": about.fields.get("num_classes", 0), PUBLISHED: True}
    if not spec["num_classes"]:
        spec["headless"] = True
    return Weights(argument, path, None, about.model, fields, mean, std, about.classes, spec)


def _open_run(path: Path, argument: str) -> Weights:
    config = read_json(path / "config.json", ["experiment", "settings", "spec"])
    settings, spec = config["settings"], config["spec"]
    if not isinstance(settings, dict) or not isinstance(spec, dict) or not isinstance(config["experiment"], str):
        raise ValueError(f"{path / 'config.json'}: no configuration of a run; allowed: the file that the run wrote")
    fields = {k.removeprefix("model."): v for k, v in settings.items() if k.startswith("model.")}
    meta = {"model": settings.get("model"), "fields": fields, "mean": spec.get("mean"), "std": spec.get("std")}
    return _weights(argument, path, meta, spec.get("class_names"), spec)._replace(
        page=config["experiment"],
        settings={k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()},
        technique=config.get("technique", ""),
        monitor_mode=config.get("monitor_mode"),
        known=known_data(path, config),
        checkpoint=max((int(p.name) for p in (path / "checkpoints").glob("*") if p.name.isdigit()), default=None),
        finished=(path / "result.json").exists(),
    )


def _weights(argument: str, path: Path, meta: dict, class_names: Any, spec: Spec) -> Weights:
    try:
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in meta.get("fields", {}).items()}
        mean, std = (None if meta.get(k) is None else tuple(float(x) for x in meta[k]) for k in ("mean", "std"))
        names = None if class_names is None else tuple(class_names)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{argument}={str(path)!r}: damaged ({error}); allowed: {ALLOWED}") from None
    return Weights(argument, path, None, meta.get("model"), fields, mean, std, names, spec)
