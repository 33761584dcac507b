"""Parts of pages of images of a class: the classes to sample, inputs of predict, and the report by class."""

import dataclasses
import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.data.source import Source
from dlcore.evaluators.class_consistency import class_consistency
from dlcore.experiment.experiment import Experiment, Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.experiment.setting import FlagError
from dlcore.experiment.splits import Splits
from dlcore.kits.generative import image_generation, sample_panels, samples
from dlcore.kits.generative.image_generation import Frechet
from dlcore.kits.generative.samples import DrawSamples
from dlcore.learner import Evaluator, Range
from dlcore.modes.report_context import ReportContext
from dlcore.tasks.guided_samples import guidance_panel
from dlcore.weights.network import feature_extractor

__all__ = [
    "ClassFrechet",
    "DrawClasses",
    "GuidedClassPanels",
    "class_inputs",
    "class_source",
]


@dataclasses.dataclass(frozen=True)
class ClassFrechet(Frechet):
    """The Fréchet distance of samples of each class and, of two or more classes, `class_consistency`.

    Args:
      classifier: page that trains the classifier where no flag names one
      num_samples: samples for the Fréchet distance at each evaluation
      monitor: metric that selects the checkpoint; None for the last
    """

    def finish_data(self, splits: Splits, run: Run) -> Splits:
        """Say what is compared; the report shows samples of each class."""
        splits = super().finish_data(splits, run)
        return splits._replace(shown=class_source(image_generation.NUM_SHOWN, splits.spec["num_classes"]))

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluators of distances to real images and of `class_consistency`."""
        return _of_classes(super().evaluators(run, splits, split), run.setup, self.classifier)


@dataclasses.dataclass(frozen=True)
class DrawClasses(DrawSamples):
    """Use of a generator of images of a class: `--mode=predict` samples the classes that `--input` names, or all.

    Args:
      num_drawn: samples that --mode=predict draws without --input
      sample_seed: seed of the samples that --mode=predict draws; by default that of the run
      sample_class: class that --mode=predict draws, by name or number; by default all in turn
    """

    sample_class: Annotated[str | None, "no identity"] = None

    input_kind: ClassVar[str] = "CLASS,CLASS"

    def samples(self, run: Run) -> tuple[Source, list[str]]:
        """Choose the classes of the samples."""
        return samples.class_samples(self, {"class_names": run.facts.class_names})

    def inputs(self, path: str, run: Run) -> tuple[Source, list[str]]:
        """Parse the classes, see `class_inputs`."""
        return class_inputs(path, self.sample_class, {"class_names": run.facts.class_names})


@dataclasses.dataclass(frozen=True)
class GuidedClassPanels:
    """Panels of samples of classes, which a condition guides.

    Args:
      guidance_samples: samples for each point of the report's guidance curve; 0 leaves the curve out
    """

    guidance_samples: Annotated[int, Range(0), "no identity"] = 200

    def panels(self, context: ReportContext, run: Run) -> list:
        """Show samples by class, samples of the same noise under increasing guidance, and the guidance curve."""
        return self.build(context, run.parts.measures[0].classifier)

    def pictures(self, context: ReportContext) -> dict[str, np.ndarray]:
        """Show the first samples in TensorBoard."""
        return sample_panels.pictures(context)

    def build(self, context: ReportContext, classifier: Any) -> list:
        """Build the panels.

        Args:
          classifier: page of the small classifier, which measures the curve.

        Returns:
          The panels, in the order of the report.
        """
        from dlcore.report.triage import triage_panels

        first, *other_panels = sample_panels.panels(context)
        result = [first]
        if self.guidance_samples:
            features = _features(context.flags, context.spec, classifier)
            labels = class_source(self.guidance_samples, context.spec["num_classes"])

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
    check_whole_number("count", count, 1)
    check_whole_number("num_classes", num_classes, 1)
    return Source({"label": (np.arange(count) % num_classes).astype(np.int32)}, count, name="samples")


def class_inputs(text: str, sample_class: str | None, spec: dict) -> tuple[Source, list[str]]:
    """Parse classes by name or number, or pairs of classes to interpolate between.

        3,7        a sample of class 3, one of class 7
        16x3       sixteen samples of class 3
        3..7       nine samples from class 3 to class 7: spherical interpolation of the noise; the class changes halfway

    Args:
      text: the value of `--input`.
      sample_class: the value of `--sample_class`, which must be None.
      spec: facts of the data; must contain `class_names`.

    Returns:
      (source with `label`, and with the endpoints `ends` and fractions `share` of interpolations; names).
    """
    if sample_class is not None:
        raise FlagError(f"--sample_class={sample_class}: beside --input={text}; allowed: one of them")
    class_names = list(spec["class_names"])
    more = f", 16x{class_names[0]}, {class_names[0]}..{class_names[-1]}"
    labels, endpoints, fractions, names = [], [], [], []
    for word in text.split(","):
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


def _of_classes(distance: list[Evaluator], setup: Setup, page: Experiment | None) -> list[Evaluator]:
    """Let evaluators measure samples of each class, and add `class_consistency` of two or more classes."""
    source = class_source(setup.flags.num_samples, setup.spec["num_classes"])
    distance = [evaluator._replace(source=source) for evaluator in distance]
    if setup.spec["num_classes"] == 1:
        return distance
    features = _features(setup.flags, setup.spec, page)
    return [*distance, class_consistency(lambda images: features(images)[1], source)]


def _features(flags: Flags, spec: dict, page: Experiment | None) -> Callable:
    network = image_generation.network_of(flags.replace(frechet_network=None), spec, page)
    return feature_extractor(network)


def _spread(vectors: np.ndarray) -> float:
    """Compute the mean distance of two different vectors."""
    distances = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    return distances.sum() / (len(vectors) * (len(vectors) - 1))
