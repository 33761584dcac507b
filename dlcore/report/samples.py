"""Samples of `--mode=predict`: their numbers, their classes, and their files."""

import dataclasses
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.data.facts import Facts
from dlcore.data.source import Source
from dlcore.learner import Range
from dlcore.ops.checks import check_finite, check_indices
from dlcore.setting import FlagError, Seed, part_settings

__all__ = [
    "NUM_REAL",
    "SETTINGS",
    "DrawClasses",
    "DrawSamples",
    "class_index",
    "class_inputs",
    "class_samples",
    "describe",
    "file_name",
    "number_samples",
    "save",
    "write",
]

NUM_REAL = 10_000
"""Largest number of real images that samples are compared with."""


def number_samples(flags: Any, spec: dict) -> tuple[Source, list[str]]:
    """Number the samples that `--mode=predict` draws without `--input`.

    Args:
      flags: `DrawSamples`, or flags: `num_drawn`.

    Returns:
      (source of indices, names).
    """
    return Source.indices(flags.num_drawn, "samples"), [f"sample {k}" for k in range(flags.num_drawn)]


def class_samples(flags: Any, spec: dict) -> tuple[Source, list[str]]:
    """Choose the classes of the samples that `--mode=predict` draws without `--input`.

    Args:
      flags: `DrawClasses`, or flags: `num_drawn` and `sample_class`; without a class all take turns.
      spec: facts of the data; must contain `class_names`.

    Returns:
      (source with `label`, names of the classes).

    Raises:
      FlagError: `sample_class` is no trained class.
    """
    names = list(spec["class_names"])
    if flags.sample_class is None:
        labels = np.arange(flags.num_drawn) % len(names)
    else:
        labels = np.full(flags.num_drawn, class_index("sample_class", flags.sample_class, spec))
    source = Source({"label": labels.astype(np.int32)}, flags.num_drawn, name="samples")
    return source, [str(names[label]) for label in labels]


def class_index(flag: str, word: str, spec: dict, more: str = "") -> int:
    """Find a class by its name or number.

    Args:
      flag: name of the flag, for the error.
      word: name of a class, or its number.
      spec: facts of the data; must contain `class_names`.
      more: what else the flag allows, for the error.

    Returns:
      The number.

    Raises:
      FlagError: there is no such class.
    """
    names = list(map(str, spec["class_names"]))
    if word in names:
        return names.index(word)
    if word.isdigit() and int(word) < len(names):
        return int(word)
    raise FlagError(f"--{flag}={word}: not a trained class; allowed: {', '.join(names[:20])}{more}")


def class_inputs(text: str, spec: dict) -> tuple[Source, list[str]]:
    """Parse `--input`: classes by name or number, or pairs of classes to interpolate between.

        --input=3,7        a sample of class 3, one of class 7
        --input=16x3       sixteen samples of class 3
        --input=3..7       nine samples from class 3 to class 7: spherical interpolation of the noise; the class
                           changes halfway

    Args:
      text: the value of `--input`.
      spec: facts of the data; must contain `class_names`.

    Returns:
      (source with `label`, and with the endpoints `ends` and fractions `share` of interpolations; names).

    Raises:
      FlagError: there is no such class.
    """
    class_names = list(spec["class_names"])
    more = f", 16x{class_names[0]}, {class_names[0]}..{class_names[-1]}"
    labels, endpoints, fractions, names = [], [], [], []
    for word in text.split(","):
        times, _, rest = word.rpartition("x") if re.match(r"\d+x", word) else ("1", "", word)
        first, between, last = rest.partition("..")
        a, count = class_index("input", first, spec, more), 9 if between else int(times)
        b = class_index("input", last, spec, more) if between else a
        start = len(labels)
        for k in range(count):
            fraction = k / (count - 1) if between else 0.0
            labels.append(a if fraction < 0.5 else b)
            endpoints.append((start, start + 1) if between else (start + k, start + k))
            fractions.append(fraction)
            names.append(f"{rest} {fraction:.3g}" if between else (first if count == 1 else f"{first} {k}"))
    arrays = {
        "label": np.array(labels, np.int32),
        "ends": np.array(endpoints, np.int32),
        "share": np.array(fractions, np.float32),
    }
    return Source(arrays, len(labels)), names


def describe(outputs: dict, spec: dict) -> list[dict]:
    """Describe each sample, `sample: [N, H, W, C]`, by its mean pixel.

    Args:
      outputs: outputs of the learner's `predict`.

    Returns:
      One dict per sample.
    """
    return [
        {"mean": float(image.mean()), "text": f"{image.shape[0]} x {image.shape[1]} pixels, mean {image.mean():.3f}"}
        for image in outputs["sample"]
    ]


def write(folder: Path, outputs: dict, source: Any, names: list[str], spec: dict) -> list[Path]:
    """Write each sample at its own size as NUMBER_NAME.png, and all of them, enlarged, as samples.png.

    Args:
      folder: output folder; created if it is missing.
      outputs: outputs of `predict`; must contain `sample: [N, H, W, C]` in [0, 1].
      source: conditions of the samples; a `hint` is drawn left of its sample.
      names: names of the samples.

    Returns:
      The files.
    """
    from dlcore.report.generative import picture_grid

    check_finite("sample", outputs["sample"])
    files = []
    for k, (name, image) in enumerate(zip(names, outputs["sample"], strict=True)):
        pictures = image[None]
        if "hint" in source.arrays:
            pictures = np.stack([np.broadcast_to(source.arrays["hint"][k], image.shape), image])
        path = folder / file_name(k, len(names), Path(name).stem if "/" in name else name)
        files.append(save(path, picture_grid(pictures, len(pictures)), 1))
    # A walk between two classes has nine samples.
    columns = min(9 if "share" in source.arrays else 8, len(names))
    return [*files, save(folder / "samples.png", picture_grid(outputs["sample"], columns))]


def file_name(number: int, count: int, name: str) -> str:
    """Name the file of a sample.

    Args:
      number: its number.
      count: number of samples.
      name: its prompt or class.

    Returns:
      NUMBER_NAME.png, of at most 60 letters, digits and underscores of the name.
    """
    check_whole_number("count", count, 1)
    check_indices("number", number, count, "samples")
    stem = re.sub(r"\W+", "_", name).strip("_")[:60]
    return f"{number:0{len(str(count - 1))}}_{stem}.png"


def save(path: Path, picture: np.ndarray, least: int = 128) -> Path:
    """Write a picture, enlarged by an integer factor where it is small.

    Args:
      path: path of the .png file; its folder is created if it is missing.
      picture: [H, W, C] uint8.
      least: height in pixels.
    """
    check_whole_number("least", least, 1)
    from dlcore.report.generative import save_picture

    return save_picture(path, picture, -(-least // max(1, len(picture))))


@dataclasses.dataclass(frozen=True)
class DrawSamples:
    """Use of a generator of noise alone: `--mode=predict` draws samples and writes them as images.

    Args:
      num_drawn: samples that --mode=predict draws without --input
      sample_seed: seed of the samples that --mode=predict draws; by default that of the run
    """

    num_drawn: Annotated[int, Range(1), "no identity"] = 16
    sample_seed: Annotated[Seed | None, "no identity"] = None

    def samples(self, run: Any) -> tuple[Source, list[str]]:
        """Number the samples."""
        return number_samples(self, {})

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe each sample by its mean pixel."""
        return describe(outputs, {})

    def write(self, folder: Path, outputs: dict, source: Any, names: list[str], facts: Facts) -> list[Path]:
        """Write each sample as a file, and all of them as samples.png."""
        return write(folder, outputs, source, names, {})


@dataclasses.dataclass(frozen=True)
class DrawClasses(DrawSamples):
    """Use of a generator of classes: `--mode=predict` draws samples of each, or of those that `--input` names.

    Args:
      sample_class: class that --mode=predict draws, by name or number; by default all in turn
    """

    sample_class: Annotated[str | None, "no identity"] = None

    input_kind: ClassVar[str] = "CLASS,CLASS"

    def samples(self, run: Any) -> tuple[Source, list[str]]:
        """Choose the classes of the samples."""
        return class_samples(self, {"class_names": run.facts.class_names})

    def inputs(self, path: str, run: Any) -> tuple[Source, list[str]]:
        """Parse the classes that `--input` names, see `class_inputs`."""
        if self.sample_class is not None:
            raise FlagError(f"--sample_class={self.sample_class}: beside --input={path}; allowed: one of them")
        return class_inputs(path, {"class_names": run.facts.class_names})


SETTINGS = part_settings(DrawSamples())
"""The flags of `DrawSamples`."""
