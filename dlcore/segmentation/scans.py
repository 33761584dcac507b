"""Scans with an organ for every voxel: planted organs, or a folder of scans and label maps."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from dlcore.data.facts import Facts
from dlcore.data.splits import Splits
from dlcore.learner import Range, check_record
from dlcore.segmentation.unet_3d import pooling_strides
from dlcore.setting import field_settings

__all__ = ["ScansWithLabels", "equal_classes_loss"]


@dataclasses.dataclass(frozen=True)
class ScansWithLabels:
    """Scans and the organ of every voxel: planted organs, or a folder of scans and label maps.

    Args:
      dataset: planted (drawn bodies with organs), or folder: scans and label maps below data_dir
      data_dir: folder: images/ and labels/ with files of the same names (.nii, .nii.gz or .npz), or train, val and test
        with these two in each
      num_volumes: planted: scans for training; a fifth as many again to validate, a third to test
      spacing: folder: depth, height and width in mm of the voxels that scans are resampled to; by default the median
      valid_fraction: folder: fraction of train held out for validation if there is no validation split
      window: depth, height and width in voxels of the patches that each scan must hold; a run takes its --window
      levels: how often the network halves a patch; a run takes it of --unet.widths
    """

    dataset: Annotated[Literal["planted", "folder"], "essential"] = "planted"
    data_dir: Annotated[str | None, "essential"] = None
    num_volumes: Annotated[int, Range(10), "essential"] = 200
    spacing: Annotated[tuple[float, float, float] | None, Range(0.001)] = None
    valid_fraction: Annotated[float, Range(0.001, 0.9)] = 0.1
    window: Annotated[tuple[int, int, int], Range(1), "no flag"] = (1, 1, 1)
    levels: Annotated[int, Range(0), "no flag"] = 0

    def __post_init__(self):
        check_record(self)

    def with_flags(self, flags: Any) -> "ScansWithLabels":
        """Return the data with the values of their flags, and what patches of the run ask of them."""
        fields = {name: flags[name] for name in field_settings(self)}
        return dataclasses.replace(self, **fields, window=flags.window, levels=len(flags["unet.widths"]) - 1)

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.dataset == "folder"

    def check(self, run: Any = None) -> None:
        """Check that there is a folder, and that patches fit the planted volumes, before data are drawn."""
        if self.dataset == "folder":
            if self.data_dir is None:
                raise ValueError("data_dir=None: missing; allowed: a folder of images/ and labels/")
            return
        from dlcore.data.planted_organs import SPACING, planted_organs

        self.check_window("planted organs", planted_organs(1).arrays["image"].shape[1:4], SPACING)

    def check_window(self, name: str, size: tuple[int, ...], spacing: Any) -> None:
        """Check that a patch fits a volume, and that the network can halve it.

        Args:
          name: name of the volume, for the message.
          size: (D, H, W) of the volume in voxels.
          spacing: (depth, height, width) of a voxel in mm.
        """
        if len(size) != 3:
            raise ValueError(f"size={size} of {name}: no volume; allowed: (D, H, W)")
        text = ",".join(map(str, self.window))
        if any(side > whole for side, whole in zip(self.window, size, strict=True)):
            sides = ", ".join(f"{side:g}" for side in spacing)
            raise ValueError(
                f"window={text}: larger than {name} of {size[0]},{size[1]},{size[2]} voxels of {sides} mm; allowed: "
                "sides up to its own"
            )
        multiples = np.asarray(pooling_strides(spacing, self.levels)).reshape(-1, 3).prod(0)
        if any(side % multiple for side, multiple in zip(self.window, multiples, strict=True)):
            raise ValueError(
                f"window={text}: cannot be halved as often as unet.widths asks; allowed: multiples of "
                f"{','.join(map(str, multiples))}"
            )

    def load(self, seed: int = 0) -> Splits:
        """Draw or read the splits, and measure intervals of intensity; `spec["trivial"]` holds their Dice.

        Args:
          seed: seed of the held-out validation scans.
        """
        from dlcore.data.planted_organs import best_intervals, interval_dice

        self.check()
        train, valid, test, spacing, messages = self._planted() if self.dataset == "planted" else self._folder(seed)
        baseline = interval_dice(test, best_intervals(train))
        counts = np.bincount(train.arrays["semantic"].reshape(-1), minlength=256)[: len(train.class_names)]
        facts = Facts(
            dataset="planted organs" if self.dataset == "planted" else Path(self.data_dir or "").name,
            class_names=tuple(train.class_names),
            image_shape=train.arrays["image"].shape[1:],
            spacing=tuple(spacing),
            class_fractions=tuple((counts / max(counts.sum(), 1)).tolist()),
        )
        message = f"mean Dice of the best interval of intensity of each organ on the test split: {baseline:.3f}"
        trivial = {"dice": (baseline, "the best interval of intensity of each organ")}
        return Splits(train, valid, test, {**facts.spec(), "trivial": trivial}, (*messages, message))

    def _planted(self):
        from dlcore.data.planted_organs import SPACING, planted_organs

        counts = (self.num_volumes, max(8, self.num_volumes // 5), max(8, self.num_volumes // 3))
        # Fixed seeds: every run is tested on the same volumes.
        return *(planted_organs(count, seed) for seed, count in enumerate(counts)), SPACING, ()

    def _folder(self, seed: int):
        from dlcore.data.carving import complete_splits
        from dlcore.data.volume_files import volume_splits

        splits, spacing = volume_splits(self.data_dir or "", self.spacing, self.check_window)
        train, valid, test, messages = complete_splits(splits, self.valid_fraction, seed)
        sides = ", ".join(f"{side:g}" for side in spacing)
        return train, valid, test, spacing, (f"volumes have voxels of {sides} mm", *messages)


def equal_classes_loss(run: Any) -> float:
    """Compute the loss of equal probabilities 1 / C.

    A class with the fraction f of the voxels has the Dice coefficient 2 (f / C) / (1 / C + f).

    Returns:
      Cross-entropy in nats plus the weighted Dice loss.
    """
    fractions, num_classes = np.asarray(run.facts.class_fractions), len(run.facts.class_fractions)
    dice = 1 - float((2 * fractions / (1 + num_classes * fractions)).mean())
    return float(np.log(num_classes)) + run.parts.technique.keywords["dice_weight"] * dice
