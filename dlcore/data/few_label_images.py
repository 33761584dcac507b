"""Few labeled images beside many unlabeled ones, with a strong view of the latter."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from dlcore.data.augment import compose, cutout
from dlcore.data.facts import Facts
from dlcore.data.few_labels import few_labels, two_streams
from dlcore.data.image_classification import unlabeled_source
from dlcore.data.images import Augmentation, Images, MadeOfImages, Resizing
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.stratified import stratified_sample
from dlcore.data.workers import Workers
from dlcore.learner import CheckedRecord, Range
from dlcore.setting import FlagError

__all__ = ["FewLabelImages", "StrongView"]


@dataclasses.dataclass(frozen=True)
class StrongView(CheckedRecord):
    """The strong view of an unlabeled image: the weak view, an augmentation, then cutout.

    Args:
      strong: strong augmentation of unlabeled images, before cutout
    """

    strong: Literal["rand_augment", "auto_augment", "none"] = "rand_augment"

    def build(self, images: Images, facts: Facts) -> Any:
        """Build the view.

        Args:
          images: the images, with the size that they are resized to.

        Returns:
          `(key, normalized image [H, W, C]) -> image`.
        """
        side = images.shorter_side(facts)
        augmentation = Augmentation("auto" if self.strong == "none" else self.strong)
        base, erase = augmentation.build(facts, side), cutout(max(1, side // 2))
        return erase if base is None else compose(base, erase)


@dataclasses.dataclass(frozen=True)
class FewLabelImages(MadeOfImages):
    """A few labeled images of each class, and a stream of unlabeled ones beside them.

    Args:
      images: the images by name
      labels_per_class: labeled training images of each class; none takes all
      unlabeled_dir: a folder (or .zip) of images without labels; by default the training split serves, without its
        labels
      label_seed: random seed that chooses the labeled images; by default --seed
      unlabeled_ratio: unlabeled images for each labeled image of a batch
      valid_labels_per_class: labeled validation images of each class; none takes the whole split
      strong: the strong view of unlabeled images, for a technique that takes one
    """

    labels_per_class: Annotated[int | None, Range(1), "essential"] = 4
    unlabeled_dir: Annotated[str | None, "if changed", "essential"] = None
    label_seed: Annotated[int | None, Range(0)] = None
    unlabeled_ratio: Annotated[int, Range(1), "essential"] = 1
    valid_labels_per_class: Annotated[int | None, Range(1)] = 10
    strong: StrongView | None = None

    def load(self, seed: int = 0, min_classes: int = 2) -> Splits:
        """Load two training streams, a small validation split and the whole test split.

        Args:
          seed: seed of the splits, and of the labels without `label_seed`.
          min_classes: least number of classes.
        """
        splits = self.images.load(seed, min_classes)
        seed = seed if self.label_seed is None else self.label_seed
        labeled = unlabeled = splits.train
        if self.labels_per_class is not None:
            labeled = few_labels(splits.train, self.labels_per_class, seed)
        if self.unlabeled_dir is not None:
            unlabeled = self._unlabeled_images(splits.spec["image_shape"])
        valid, per_class = splits.valid, self.valid_labels_per_class
        if per_class is not None:
            valid = stratified_sample(valid, min(per_class * splits.spec["num_classes"], len(valid)), seed)
        per_class = self.labels_per_class
        few = "" if per_class is None else f", {per_class} of each class, drawn by label_seed {seed}"
        where = "the same among them" if self.unlabeled_dir is None else f"of {self.unlabeled_dir}"
        messages = (
            f"{len(labeled)} labeled images{few}; {len(unlabeled):,} unlabeled ones, {where}; {len(valid)} to validate",
            *(() if self.unlabeled_dir is None else unlabeled.notes),
        )
        return splits._replace(
            train=two_streams(labeled, unlabeled),
            valid=valid,
            spec=splits.spec | {"unlabeled_size": len(unlabeled)},
            notes=(*splits.notes, *messages),
            batch_ratios={"unlabeled": self.unlabeled_ratio},
        )

    def finish_data(self, splits: Splits, run: Any) -> Splits:
        """Check that a batch that the command line asks for fits the data."""
        labeled, unlabeled = len(splits.train["labeled"]), len(splits.train["unlabeled"])
        flags = run.flags
        if "batch_size" in flags.given and flags.batch_size > labeled:
            raise FlagError(
                f"--batch_size={flags.batch_size}: more than the {labeled} labeled images of "
                f"--labels_per_class={self.labels_per_class}; allowed: at most {labeled}"
            )
        explicit = flags.given & {"batch_size", "unlabeled_ratio"}
        if explicit and (count := flags.batch_size * self.unlabeled_ratio) > unlabeled:
            raise FlagError(
                f"--unlabeled_ratio={self.unlabeled_ratio}: {count} unlabeled images a step with "
                f"--batch_size={flags.batch_size}; allowed: at most {unlabeled}, the unlabeled images"
            )
        return splits

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique its `preprocess`, `augment`, `strong` and `num_unlabeled`."""
        values = {**self.images.arguments(run), "num_unlabeled": run.facts.unlabeled_size}
        return values if self.strong is None else {**values, "strong": self.strong.build(self.images, run.facts)}

    def _unlabeled_images(self, shape: Sequence[int]) -> Source:
        """Read the images of `unlabeled_dir` at the size and with the channels of the labeled ones."""
        (height, width, channels), reading = shape, self.images.resizing or Resizing()
        try:
            return unlabeled_source(
                self.unlabeled_dir,
                (height, width),
                channels,
                skip_bad=self.images.skip_bad,
                limit_bytes=int(reading.memory_limit * 2**30),
                workers=Workers(reading.workers, reading.decoder),
            )
        except FileNotFoundError as error:
            problem = f"--unlabeled_dir={self.unlabeled_dir}: not found; allowed: a folder or .zip of images"
            raise FlagError(problem) from error
