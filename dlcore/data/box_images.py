"""Images with boxes: drawn scenes, or a folder in COCO's format, with masks and keypoints."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from dlcore.data import labeled_images
from dlcore.data.facts import Facts
from dlcore.data.normalization import normalizer
from dlcore.data.resizing import check_resize, shortest_edge
from dlcore.data.splits import Splits
from dlcore.learner import CheckedRecord, Range
from dlcore.setting import FlagError

__all__ = ["PLAIN", "BoxImages", "BoxResizing", "Mosaic", "MosaicOrCopies"]


@dataclasses.dataclass(frozen=True)
class BoxResizing(CheckedRecord):
    """How images of a folder become images of one size.

    Args:
      resize: coco: stretch to --image_size, or shortest_edge:S,L: the shorter side to S pixels, the longer to L at most
      canvas: height and width that images of --resize=shortest_edge are padded to; by default L, up to a multiple of 32
    """

    resize: Annotated[str, "if changed", check_resize] = "stretch"
    canvas: Annotated[tuple[int, int] | None, Range(1), "if changed"] = None


@dataclasses.dataclass(frozen=True)
class Mosaic(CheckedRecord):
    """Training images of four others.

    Args:
      mosaic: probability that a training image becomes a mosaic of four
    """

    mosaic: Annotated[float, Range(0, 1), "if changed", "regularizes"] = 0.0

    copy_paste: ClassVar[float] = 0.0


@dataclasses.dataclass(frozen=True)
class MosaicOrCopies(Mosaic):
    """Training images of four others, or with objects of another.

    Args:
      copy_paste: with masks: probability that objects of another training image are laid over an image
    """

    copy_paste: Annotated[float, Range(0, 1), "if changed", "regularizes"] = 0.0  # pyright: ignore[reportIncompatibleVariableOverride]


@dataclasses.dataclass(frozen=True)
class BoxImages(CheckedRecord):
    """Images and the boxes of their objects: drawn scenes, or a folder in COCO's format.

    Args:
      dataset: scenes (drawn), or coco: a folder in COCO's format
      data_dir: coco: instances_train.json, ..._val, ..._test, images.zip or images/
      image_size: height and width that images are stretched to
      max_boxes: boxes of an image at most; more are an error
      num_scenes: scenes: for training; a tenth as many again to validate, a sixth to test
      valid_fraction: coco: fraction of train held out for validation if there is no validation split
      flip: mirroring of training images
      zoom: factors between which training images are scaled, 1,1: none; by default 0.75,1.35 for coco, none for scenes
      resizing: `BoxResizing`; None stretches all images to `image_size`.
      mixing: `Mosaic` or `MosaicOrCopies`; None mixes no training images, as keypoints need.
      proposals: part whose `add(source, run)` gives each image regions, such as `dlcore.detection.proposals`.
      masks: whether objects have masks.
      keypoints: whether objects have keypoints.
      stuff: whether images have semantic maps, which only scenes have.
    """

    dataset: Annotated[Literal["scenes", "coco"], "essential"] = "scenes"
    data_dir: Annotated[str | None, "essential"] = None
    image_size: Annotated[tuple[int, int], "essential"] = (96, 96)
    max_boxes: Annotated[int, Range(1)] = 32
    num_scenes: Annotated[int, Range(10)] = 4000
    valid_fraction: Annotated[float, Range(0.001, 0.9)] = 0.1
    flip: Literal["none", "horizontal", "both"] = "both"
    zoom: Annotated[tuple[float, float] | None, Range(0.01), labeled_images.check_zoom] = None
    resizing: BoxResizing | None = BoxResizing()
    mixing: Mosaic | None = Mosaic()
    proposals: Any = None
    masks: Annotated[bool, "no flag"] = False
    keypoints: Annotated[bool, "no flag"] = False
    stuff: Annotated[bool, "no flag"] = False

    packages: ClassVar[tuple[str, ...]] = ("pycocotools",)

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.dataset == "coco"

    def load(self, seed: int = 0) -> Splits:
        """Load the splits, with the statistics of the training split.

        Args:
          seed: seed of the held-out validation images.

        Returns:
          The splits.

        Raises:
          ValueError: see `dlcore.data.scenes.scenes` and `dlcore.data.coco.coco_splits`; before data are read, the
            canvas is too small, or scenes would be resized.
          FileNotFoundError: see `dlcore.data.coco.coco_splits`.
        """
        from dlcore.data.augment import channel_statistics
        from dlcore.data.scenes import STUFF

        resizing = self.resizing or BoxResizing()
        edge = shortest_edge(resizing.resize, resizing.canvas)
        if edge is not None and self.dataset == "scenes":
            raise ValueError(
                f"resize={resizing.resize}: scenes are drawn in --image_size; allowed: stretch, or dataset=coco"
            )
        train, valid, test, messages = self._scenes() if self.dataset == "scenes" else self._coco(edge, seed)
        mean, std = channel_statistics(train)
        if self.keypoints:
            messages = (*messages, *self._mirror_messages(train.keypoint_names))
        facts = Facts(
            dataset=train.name.removesuffix(" (train)") if self.dataset == "scenes" else Path(self.data_dir or "").name,
            class_names=tuple(train.class_names),
            image_shape=train.arrays["image"].shape[1:],
            max_boxes=train.arrays["boxes"].shape[1],
            mean=tuple(float(m) for m in mean),
            std=tuple(float(s) for s in std),
            resize=None if edge is None else (edge.shortest, edge.longest),
            masks=self.masks,
            keypoint_names=tuple(train.keypoint_names) if self.keypoints else (),
            stuff_names=tuple(STUFF) if self.stuff else (),
        )
        return Splits(train, valid, test, facts.spec(), messages)

    def _scenes(self) -> tuple[Any, Any, Any, tuple[str, ...]]:
        from dlcore.data.scenes import check_scene_size, scenes

        side = check_scene_size(self.image_size)
        counts = (self.num_scenes, max(8, self.num_scenes // 10), max(8, self.num_scenes // 6))
        options: dict[str, Any] = {"size": side, "max_boxes": min(6, self.max_boxes), "largest": side // 2}
        options |= {"masks": self.masks, "keypoints": self.keypoints, "stuff": self.stuff}
        # Fixed seeds: every run is tested on the same scenes.
        train, valid, test = (scenes(n, seed, **options) for seed, n in enumerate(counts))
        return train, valid, test, ()

    def _coco(self, edge: Any, seed: int) -> tuple[Any, Any, Any, tuple[str, ...]]:
        from dlcore.data.carving import complete_splits
        from dlcore.data.coco import coco_splits

        if self.data_dir is None:
            raise ValueError("data_dir=None: missing; allowed: a folder with instances_train.json and images")
        if self.stuff:
            raise ValueError("dataset=coco: its folders have no semantic maps; allowed: scenes")
        splits = coco_splits(self.data_dir, edge or self.image_size, self.max_boxes, self.masks, self.keypoints)
        messages = [message for source in splits.values() for message in source.notes]
        train, valid, test, carving_messages = complete_splits(splits, self.valid_fraction, seed)
        return train, valid, test, tuple(dict.fromkeys((*messages, *carving_messages)))

    def _mirror_messages(self, keypoint_names: Sequence[str]) -> tuple[str, ...]:
        """Name the mirrors of `flip` that are left out because no keypoint has a left or right counterpart."""
        from dlcore.data.augment import has_pairs, mirror_orders

        mirrors = {"none": (), "horizontal": ("horizontal",), "both": ("horizontal", "vertical")}[self.flip]
        orders = dict(zip(("horizontal", "vertical"), mirror_orders(keypoint_names), strict=True))
        if not (left_out := [mirror for mirror in mirrors if not has_pairs(orders[mirror])]):
            return ()
        return (
            f"flip={self.flip}: no {' or '.join(left_out)} mirror, since no two of the keypoints "
            f"{', '.join(keypoint_names)} change places by their names (left and right, or l and r)",
        )

    def finish_data(self, splits: Splits, run: Any) -> Splits:
        """Add the proposals of each image."""
        if self.proposals is None:
            return splits
        parts = {name: self.proposals.add(getattr(splits, name), run) for name in ("train", "valid", "test")}
        return splits._replace(**parts)

    def messages(self, run: Any, splits: Splits) -> list[str]:
        """Say how many training boxes the proposals find."""
        return [] if self.proposals is None else [self.proposals.message(splits, run)]

    def check(self, run: Any) -> None:
        """Check that images that are mixed have one size."""
        resize = "stretch" if self.resizing is None else self.resizing.resize
        for name, probability in () if self.mixing is None else vars(self.mixing).items():
            if probability and resize != "stretch":
                raise FlagError(f"--{name}={probability}: beside --resize={resize}; allowed: --resize=stretch")

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique its `preprocess` and `augment`; a detector needs a query for each box of an image."""
        self._check_queries(run)
        preprocess = normalizer(run.facts.mean, run.facts.std, dtype=run.dtype)
        return {"preprocess": preprocess, "augment": self.augment(run.facts)}

    def _check_queries(self, run: Any) -> None:
        name, network = next(iter(run.parts.network.modules.items()))
        queries = getattr(network, "keywords", {}).get("num_queries")
        most = (run.facts.max_boxes or 0) * (4 if self.mixing is not None and self.mixing.mosaic else 1)
        if queries is not None and queries < most:
            raise ValueError(f"{name}.num_queries={queries}: too few; allowed: at least {most} boxes of an image")

    def augment(self, facts: Facts) -> Any:
        """Build the augmentation of `flip` and `zoom`, behind `mixing`.

        Args:
          facts: facts of the data; by the names of keypoints a mirror swaps left and right.

        Returns:
          `augment` of `dlcore.data.augment.examples.augment_examples`; None for none.
        """
        from dlcore.data.augment import compose_examples, random_flip_example, random_zoom_example
        from dlcore.data.augment.scene_mixing import SceneMixing

        parts = []
        if self.flip != "none":
            parts.append(random_flip_example(0.5, 0.5 if self.flip == "both" else 0.0, facts.keypoint_names))
        zoom = self.zoom or ((0.75, 1.35) if self.dataset == "coco" else (1.0, 1.0))
        if tuple(zoom) != (1, 1):
            parts.append(random_zoom_example(*zoom))
        then = compose_examples(*parts) if parts else None
        mixing = (0.0, 0.0) if self.mixing is None else (self.mixing.mosaic, self.mixing.copy_paste)
        return SceneMixing(*mixing, then) if any(mixing) else then


PLAIN = {"flip": "none", "zoom": (1.0, 1.0), "weight_decay": 0.0, "ema": None}
"""Flags without regularization and augmentation."""
