"""Origins of trained weights: read before the data, for every flag that names such weights.

A flag that names weights to start from, to learn from or to measure with has `origin=` in its `Setting`: a function
from the flags to an `Origin`. So no page can take weights past these questions (`dlcore.experiment.run_data.load_data`
asks them):

    before data are read      is there something to load, of this page and this model? Has the run finished?
    after data are read       was it trained on what is now the test split? Does it tell the same classes apart?
                              Which mean and standard deviation do its images have?
    before compilation        do the weights fit, and what do they leave out? (`Start.check`)
"""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlcore.data.fingerprint import Fingerprint, count_shared
from dlcore.experiment.setting import FlagError
from dlcore.experiment.splits import Spec, Splits
from dlcore.models.pretrained.door import is_published, read_about

__all__ = [
    "DATA_FILE",
    "EARLIER",
    "PUBLISHED",
    "Origin",
    "Start",
    "check_origins",
    "check_saved",
    "collect_training_keys",
    "known_data",
    "read_origin",
    "take_normalization",
]

DATA_FILE = "data.npz"
"""Keys of a run's examples, beside its config.json."""
EARLIER = "earlier"
"""Name in data.npz of the keys of examples that the run, or its initial weights, were trained on before."""
PUBLISHED = "published"
"""Entry of `Origin.spec` of weights that `from_pretrained` loads."""
ALLOWED = "the folder of a run, a folder that `dlcore convert` wrote, a packed .npz, or hf:ORG/NAME"


class Origin(NamedTuple):
    """Origin of trained weights.

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
    known: dict[str, Fingerprint] = {}
    checkpoint: int | None = None
    finished: bool = True
    initializes: bool = True

    @property
    def name(self) -> str:
        """The flag and its value, the first words of an error."""
        return f"{self.argument}={str(self.path)!r}"


class Start(NamedTuple):
    """State -> State initialized from weights, for `Experiment.start`.

    Args:
      replace: State -> State on the host, once, after `init`.
      check: abstract state -> None; raises ValueError if the weights do not fit its shapes; called before anything is
        compiled or written.
    """

    replace: Callable[[Any], Any]
    check: Callable[[Any], None]

    def __call__(self, state: Any) -> Any:
        """Replace the initial weights.

        Args:
          state: initial state.

        Returns:
          The state with the weights.
        """
        return self.replace(state)


def read_origin(source: str | Path, argument: str) -> Origin:
    """Read the origin of weights, without reading their arrays.

    Args:
      source: the folder of a run, a folder of `dlcore convert`, a packed .npz, hf:ORG/NAME, or a folder as a hub serves
        it.
      argument: name of the flag that names the source.

    Returns:
      The origin.

    Raises:
      ValueError: `source` is none of these, or is damaged.
    """
    path = Path(source)
    if path.suffix == ".npz" and path.exists():
        return _of_file(path, argument)
    if is_published(source):
        return _of_published(path, argument)
    if (path / "config.json").exists():
        return _of_run(path, argument)
    if (path / "model.json").exists():
        return _of_converted(path, argument)
    raise ValueError(f"{argument}={str(source)!r}: holds no trained network; allowed: {ALLOWED}")


def _of_file(path: Path, argument: str) -> Origin:
    name = f"{argument}={str(path)!r}"
    try:
        with np.load(path) as file:
            meta = json.loads(str(file["meta"])) if "meta" in file.files else None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        raise ValueError(f"{name}: empty, damaged or no .npz; allowed: an .npz that `pack` wrote") from None
    if meta is None:
        raise ValueError(f"{name}: holds no `meta`; allowed: an .npz that `pack` wrote")
    spec = {k: meta[k] for k in ("dataset", "side", "input_size") if k in meta}
    spec["num_classes"] = len(meta["class_names"])
    return _origin(argument, path, meta, meta.get("class_names"), spec)


def _of_converted(path: Path, argument: str) -> Origin:
    from dlcore.models.normalization import normalization
    from dlcore.run.json_files import read_json

    meta = read_json(path / "model.json", ["model"])

    normalization_of = normalization(meta["model"], meta.get("fields"))._asdict()
    spec = {key: meta[key] for key in ("num_classes", "headless") if key in meta}
    return _origin(argument, path, normalization_of | meta, meta.get("class_names"), spec)


def _of_published(path: Path, argument: str) -> Origin:
    about = read_about(str(path))
    processor = about.preprocess
    channels = (0.0,) * 3, (1.0,) * 3
    mean, std = channels if processor is None or processor.mean is None else (processor.mean, processor.std)
    fields = {name: value for name, value in about.fields.items() if name != "num_classes"}
    spec = {"num_classes": about.fields.get("num_classes", 0), PUBLISHED: True}
    if not spec["num_classes"]:
        spec["headless"] = True
    return Origin(argument, path, None, about.model, fields, mean, std, about.classes, spec)


def _of_run(path: Path, argument: str) -> Origin:
    from dlcore.run.json_files import read_json

    config = read_json(path / "config.json", ["experiment", "settings", "spec"])
    settings, spec = config["settings"], config["spec"]
    steps = [int(p.name) for p in (path / "checkpoints").glob("*") if p.name.isdigit()]
    fields = {k.removeprefix("model."): v for k, v in settings.items() if k.startswith("model.")}
    meta = {"model": settings.get("model"), "fields": fields, "mean": spec.get("mean"), "std": spec.get("std")}
    origin = _origin(argument, path, meta, spec.get("class_names"), spec)
    return origin._replace(
        page=config["experiment"],
        settings={k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()},
        known=known_data(path, config),
        checkpoint=max(steps, default=None),
        finished=(path / "result.json").exists(),
    )


def _origin(argument: str, path: Path, meta: dict, class_names: Any, spec: Spec) -> Origin:
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in meta.get("fields", {}).items()}
    mean, std = (None if meta.get(k) is None else tuple(float(x) for x in meta[k]) for k in ("mean", "std"))
    names = None if class_names is None else tuple(class_names)
    return Origin(argument, path, None, meta.get("model"), fields, mean, std, names, spec)


def known_data(folder: Path, config: dict) -> dict[str, Fingerprint]:
    """Read the fingerprints that a run recorded of its examples.

    Args:
      folder: the run's folder.
      config: its config.json.

    Returns:
      Split -> fingerprint, with "earlier" if the run has one; empty if the run recorded nothing.
    """
    try:
        with np.load(folder / DATA_FILE) as file:
            keys = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        keys = {}
    fingerprints = {
        name: Fingerprint(entry["examples"], entry["digest"], entry["by"], keys.get(name))
        for name, entry in config.get("data", {}).items()
    }
    if EARLIER in keys:
        fingerprints[EARLIER] = Fingerprint(len(keys[EARLIER]), "", "", keys[EARLIER])
    return fingerprints


def collect_training_keys(prints: dict[str, Fingerprint]) -> np.ndarray:
    """Collect the keys of all training examples.

    Args:
      prints: split -> fingerprint, as `known_data` returns them.

    Returns:
      [N] uint64, the unique keys, including those of earlier training.
    """
    keys = [p.keys for name, p in prints.items() if name.split("/")[0] in ("train", EARLIER) and p.keys is not None]
    return np.unique(np.concatenate(keys)) if keys else np.zeros(0, np.uint64)


def check_saved(origin: Origin) -> None:
    """Check that a run has a checkpoint to load.

    Args:
      origin: origin of the weights.

    Raises:
      FileNotFoundError: it has no checkpoint.
    """
    if origin.page is not None and origin.checkpoint is None:
        raise FileNotFoundError(f"{origin.name}: there is no checkpoint in it; allowed: a run that saved one")


def check_origins(origins: list[Origin], splits: Splits, changed_data: bool) -> list[str]:
    """Check that no weights were trained on test examples, and describe the weights.

    Args:
      origins: origins of the experiment's weights.
      splits: data of the experiment.
      changed_data: allow weights that were trained on test examples.

    Returns:
      Lines to print.

    Raises:
      FlagError: weights were trained on test examples that were not among their own run's test examples.
    """
    lines = []
    for origin in origins:
        lines += [f"{origin.name}: {line}" for line in _lines(origin, splits, changed_data)]
    return lines


def _lines(origin: Origin, splits: Splits, changed_data: bool) -> list[str]:
    lines = []
    if not origin.finished:
        length = f" of {origin.settings['steps']:,}" if origin.settings.get("steps") else ""
        lines.append(f"an unfinished run, saved at step {origin.checkpoint or 0:,}{length}")
    for split in ("test", "valid"):
        source = getattr(splits, split)
        if source is None or isinstance(source, dict):
            continue
        num_seen, total = _seen(origin, source.fingerprint, split), len(source)
        if num_seen and split == "test" and not changed_data:
            raise FlagError(
                f"--{origin.name}: trained on {num_seen:,} of the {total:,} test examples; allowed: weights of other "
                "examples (of a run with the same --seed and split), or --changed_data to take them all the same"
            )
        if num_seen:
            lines.append(f"trained on {num_seen:,} of the {total:,} {split} examples, on which measures are too good")
    if origin.spec.get("dataset") and origin.spec["dataset"] == splits.spec.get("dataset"):
        if not len(collect_training_keys(origin.known)):
            lines.append("trained on this data set, and on which of its examples was not recorded")
        elif _other_keys(origin, splits):
            lines.append("trained on this data set in another size, so that its examples cannot be compared")
    mean = splits.spec.get("mean")
    if origin.initializes and origin.mean is not None and mean is not None and list(origin.mean) != list(mean):
        statistics = (", ".join(f"{x:.4g}" for x in numbers) for numbers in (origin.mean, origin.std or ()))
        lines.append("images are normalized as for these weights, mean {}, standard deviation {}".format(*statistics))
    return lines


def _seen(origin: Origin, now: Fingerprint, split: str) -> int:
    """Count a split's examples that the weights were trained on, without those in the same split of their own run."""
    if now.keys is None:
        return 0
    recorded = origin.known.get(split)
    new = now.keys if recorded is None or recorded.keys is None else now.keys[~np.isin(now.keys, recorded.keys)]
    return count_shared(new, collect_training_keys(origin.known))


def _other_keys(origin: Origin, splits: Splits) -> bool:
    """Find out whether the same images would have other keys: keys of content change with the image size."""
    kinds = {p.by for name, p in origin.known.items() if name != EARLIER}
    before, after = (spec.get("image_shape") for spec in (origin.spec, splits.spec))
    now = splits.test if splits.test is not None and not isinstance(splits.test, dict) else None
    if now is None:
        return False
    by = now.fingerprint.by
    resized = before is not None and after is not None and list(before) != list(after)
    return by not in kinds or (by == "content" and resized)


def take_normalization(splits: Splits, origins: list[Origin]) -> Splits:
    """Take the normalization of the images from the weights that an experiment starts from.

    Args:
      splits: the data.
      origins: origins of the experiment's weights.

    Returns:
      The splits, with the mean and standard deviation of the first initializing origin that has them.

    Raises:
      ValueError: the images have another number of channels; gray images are repeated for an RGB network.
    """
    for origin in origins:
        if not origin.initializes or origin.mean is None or "mean" not in splits.spec:
            continue
        channels = splits.spec["image_shape"][-1]
        if channels not in (1, len(origin.mean)):
            raise ValueError(f"{origin.name}: trained on images of {len(origin.mean)} channels; allowed: {channels}")
        return splits._replace(spec={**splits.spec, "mean": list(origin.mean), "std": list(origin.std or ())})
    return splits
