"""Tasks of images of a class: the classes to sample, inputs of predict, and the report by class."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from dlcore.data.source import Source
from dlcore.evaluators.class_consistency import class_consistency
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError, Setting
from dlcore.experiment.splits import Splits
from dlcore.kits.generative import image_generation, sample_panels, samples
from dlcore.kits.training import pretrained_network
from dlcore.learner import Evaluator
from dlcore.modes.report_context import ReportContext
from dlcore.tasks.guided_samples import GuidedSamples, guidance_panel
from dlcore.tasks.image_generation import ImageGeneration

__all__ = ["ClassConditionalImages", "GuidedImages", "class_source"]


@dataclasses.dataclass(frozen=True)
class ClassConditionalImages(ImageGeneration):
    """Images of a class, and samples of each class."""

    input_kind = "CLASS,CLASS"

    def settings(self) -> dict[str, Setting]:
        """Collect the flags of the task, and `--sample_class`.

        Returns:
          {flag: setting}.
        """
        return {**super().settings(), **samples.SAMPLE_CLASS}

    def data(self, flags: Flags) -> Splits:
        """Load the splits by name; the report shows samples of each class.

        Args:
          flags: resolved settings, with those of the task.

        Returns:
          The splits.
        """
        splits = super().data(flags)
        return splits._replace(shown=class_source(image_generation.NUM_SHOWN, splits.spec["num_classes"]))

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluators of distances to real images, and of samples that a classifier assigns to their class.

        Args:
          setup: facts of the run.
          splits: the data.
          split: "valid" or "test".

        Returns:
          The Fréchet distance, the kernel distance and, of two or more classes, `class_consistency`.
        """
        source = class_source(setup.flags.num_samples, setup.spec["num_classes"])
        distance = [evaluator._replace(source=source) for evaluator in super().evaluators(setup, splits, split)]
        if setup.spec["num_classes"] == 1:
            return distance
        features = _features(setup.flags, setup.spec)
        return [*distance, class_consistency(lambda images: features(images)[1], source)]

    def inputs(self, flags: Flags, spec: dict) -> tuple[Any, list[str]]:
        """Parse `--input`: classes by name or number, or pairs of classes to interpolate between.

            --input=3,7        a sample of class 3, one of class 7
            --input=16x3       sixteen samples of class 3
            --input=3..7       nine samples from class 3 to class 7: spherical interpolation of the noise; the class
                               changes halfway

        Args:
          flags: `input`.
          spec: facts of the data; must contain `class_names`.

        Returns:
          (source with `label`, and with the endpoints `ends` and fractions `share` of interpolations; names).

        Raises:
          FlagError: a class is unknown, or `sample_class` names one as well.
        """
        if flags.get("sample_class") is not None:
            raise FlagError(f"--sample_class={flags.sample_class}: beside --input={flags.input}; allowed: one of them")
        class_names = list(spec["class_names"])
        more = f", 16x{class_names[0]}, {class_names[0]}..{class_names[-1]}"
        labels, endpoints, fractions, names = [], [], [], []
        for word in flags.input.split(","):
            times, _, rest = word.rpartition("x") if re.match(r"\d+x", word) else ("1", "", word)
            first, between, last = rest.partition("..")
            a, count = samples.class_index("input", first, spec, more), 9 if between else int(times)
            b = samples.class_index("input", last, spec, more) if between else a
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

    def drawn(self, flags: Flags, spec: dict) -> tuple[Source, list[str]]:
        """Choose the classes of the samples that `--mode=predict` draws without `--input`.

        Args:
          flags: `num_drawn` and `sample_class`; without a class all take turns.
          spec: facts of the data; must contain `class_names`.

        Returns:
          (source with `label`, names of the classes).
        """
        return samples.class_samples(flags, spec)


@dataclasses.dataclass(frozen=True)
class GuidedImages(GuidedSamples, ClassConditionalImages):
    """Images of a class, generated by diffusion with guidance."""

    def panels(self, context: ReportContext) -> list:
        """Show samples by class, samples of the same noise under increasing guidance, and the guidance curve.

        Args:
          context: the ReportContext of a run with the flag `guidance`.

        Returns:
          Report panels.
        """
        from dlcore.report.triage import triage_panels

        first, *other_panels = sample_panels.panels(context)
        result = [first]
        if context.flags.guidance_samples:
            features = _features(context.flags, context.spec)
            labels = class_source(context.flags.guidance_samples, context.spec["num_classes"])

            def measure(images: np.ndarray) -> dict[str, float]:
                vectors, probabilities = features(images)
                requested = labels.arrays["label"]
                within = [_spread(vectors[requested == k]) for k in np.unique(requested) if (requested == k).sum() > 1]
                consistency = {"class consistency": float((probabilities.argmax(1) == requested).mean())}
                variety = {"variety within a class": float(np.mean(within))}
                return variety if context.spec["num_classes"] == 1 else consistency | variety

            result += guidance_panel(context, labels, measure)
        return [*result, *triage_panels(context.history, floor=None), *other_panels]


def class_source(count: int, num_classes: int) -> Source:
    """Build a source of labels that cycles through the classes.

    Args:
      count: number of samples.
      num_classes: K.

    Returns:
      A source with `label`.
    """
    return Source({"label": (np.arange(count) % num_classes).astype(np.int32)}, count, name="samples")


def _features(flags: Flags, spec: dict) -> Callable:
    network = image_generation.network_of(flags.replace(frechet_network=None), spec)
    return pretrained_network.feature_extractor(network)


def _spread(vectors: np.ndarray) -> float:
    """Compute the mean distance of two different vectors."""
    distances = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    return distances.sum() / (len(vectors) * (len(vectors) - 1))
