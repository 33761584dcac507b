"""Questions to trained weights, which every flag that names some asks before anything is computed.

A flag that names weights to start from, to learn from or to measure with has `origin=` in its `Setting`: a function
from the flags to `Weights`. So no page can take weights past these questions, which `load_data` asks:

    before data are read      is there something to load, of this page and this model? Has the run finished?
    after data are read       was it trained on what is now the test split? Does it tell the same classes apart?
                              Which mean and standard deviation do its images have?
    before compilation        do the weights fit, and what do they leave out? (`dlcore.weights.start.Start.check`)
"""

import numpy as np

from dlcore.activity import activity
from dlcore.data.fingerprint import Fingerprint, count_shared
from dlcore.data.splits import Splits
from dlcore.experiment.flags import Flags
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.experiment.run_data import EARLIER, collect_training_keys
from dlcore.setting import FlagError
from dlcore.weights.open import Weights

__all__ = ["check_origins", "check_saved", "inherited_keys", "load_data", "origins_of", "take_normalization"]


def origins_of(run: ResolvedRun) -> list[Weights]:
    """Read the origins of the weights that the run's flags name, without reading data.

    Returns:
      The origins, in the order of the flags.
    """
    run.before_data().check()
    optional = [s.origin(run.flags) for s in run.experiment.settings.values() if s.origin is not None]
    origins = [origin for origin in optional if origin is not None]
    for origin in origins:
        check_saved(origin)
    return origins


def load_data(run: ResolvedRun, flags: Flags | None = None, origins: list[Weights] | None = None) -> Splits:
    """Load the data of a new run, and check them against its initial weights.

    Args:
      flags: other settings than the run's.
      origins: result of `origins_of`, if already computed.

    Returns:
      The splits, with the normalization of the run's initial weights and notes about these.
    """
    origins = origins_of(run) if origins is None else origins
    with activity("reading the data"):
        splits = run.load(flags)
    lines = check_origins(origins, splits, run.flags.changed_data)
    return take_normalization(splits, origins)._replace(notes=(*splits.notes, *lines))


def inherited_keys(origins: list[Weights]) -> dict[str, Fingerprint]:
    """Collect the keys of examples that a run's initial weights were trained on.

    Args:
      origins: the run's origins of weights.

    Returns:
      The keys as "earlier", for `write_data`; {} without keys.
    """
    keys = [collect_training_keys(origin.known) for origin in origins if origin.initializes]
    unique_keys = np.unique(np.concatenate(keys)) if keys else np.zeros(0, np.uint64)
    return {EARLIER: Fingerprint(len(unique_keys), "", "", unique_keys)} if len(unique_keys) else {}


def check_saved(weights: Weights) -> None:
    """Check that a run has a checkpoint to load.

    Args:
      weights: the weights.

    Raises:
      FileNotFoundError: it has no checkpoint.
    """
    if weights.page is not None and weights.checkpoint is None:
        raise FileNotFoundError(f"{weights.name}: there is no checkpoint in it; allowed: a run that saved one")


def check_origins(origins: list[Weights], splits: Splits, changed_data: bool) -> list[str]:
    """Check that no weights were trained on test examples, and describe the weights.

    Args:
      origins: origins of the experiment's weights.
      splits: data of the experiment.
      changed_data: allow weights that were trained on test examples.
    """
    return [f"{origin.name}: {line}" for origin in origins for line in _lines(origin, splits, changed_data)]


def _lines(origin: Weights, splits: Splits, changed_data: bool) -> list[str]:
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


def _seen(origin: Weights, now: Fingerprint, split: str) -> int:
    """Count a split's examples that the weights were trained on, without those in the same split of their own run."""
    if now.keys is None:
        return 0
    recorded = origin.known.get(split)
    new = now.keys if recorded is None or recorded.keys is None else now.keys[~np.isin(now.keys, recorded.keys)]
    return count_shared(new, collect_training_keys(origin.known))


def _other_keys(origin: Weights, splits: Splits) -> bool:
    """Find out whether the same images would have other keys: keys of content change with the image size."""
    kinds = {p.by for name, p in origin.known.items() if name != EARLIER}
    before, after = (spec.get("image_shape") for spec in (origin.spec, splits.spec))
    now = splits.test if splits.test is not None and not isinstance(splits.test, dict) else None
    if now is None:
        return False
    by = now.fingerprint.by
    resized = before is not None and after is not None and list(before) != list(after)
    return by not in kinds or (by == "content" and resized)


def take_normalization(splits: Splits, origins: list[Weights]) -> Splits:
    """Take the normalization of the images from the weights that an experiment starts from.

    Args:
      origins: origins of the experiment's weights.

    Returns:
      The splits, with the mean and standard deviation of the first initializing origin that has them.
    """
    for origin in origins:
        if not origin.initializes or origin.mean is None or "mean" not in splits.spec:
            continue
        channels = splits.spec["image_shape"][-1]
        if channels not in (1, len(origin.mean)):
            raise ValueError(f"{origin.name}: trained on images of {len(origin.mean)} channels; allowed: {channels}")
        return splits._replace(spec={**splits.spec, "mean": list(origin.mean), "std": list(origin.std or ())})
    return splits
