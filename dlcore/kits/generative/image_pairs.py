"""Data of image-to-image experiments: pairs, unpaired images, and low-resolution images with their originals.

edges       the edges of an image and the image (pix2pix)
inks        digits in red on white, and others in blue on gray (CycleGAN); or two folders of images
small       images downscaled by Pillow's bicubic filter, and the originals (super-resolution)
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import jax
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.data.facts import Facts
from dlcore.data.images import Images, Resizing
from dlcore.data.normalization import normalizer
from dlcore.data.source import Source
from dlcore.data.splits import Splits, batch_facts
from dlcore.data.workers import DECODERS
from dlcore.evaluators.image_pairs import image_pair_evaluator
from dlcore.experiment.parts import Run
from dlcore.generative.control_net import edge_map
from dlcore.kits.images import prediction
from dlcore.learner import Evaluator, Range, check_record
from dlcore.ops.checks import check_shapes
from dlcore.weights.network import PACKED, load_network

__all__ = [
    "EdgeImages",
    "InputSize",
    "SmallPhotographs",
    "UnpairedImages",
    "downscale",
    "target_evaluators",
    "unpaired_source",
    "with_small",
]

INKS = {"a": ((255, 255, 255), (217, 26, 26)), "b": ((153, 153, 153), (26, 51, 204))}
"""Background and ink color of both domains, RGB."""


@dataclasses.dataclass(frozen=True)
class InputSize(Resizing):
    """How images are resized; they are held in memory.

    Args:
      input_size: side of the square that images are resized to (bilinear); by default both sides of images under 16
        pixels are doubled
      memory_limit: GiB of decoded images to hold in memory
      workers: threads that decode images
      decoder: decoder of images
    """

    memory_limit: Annotated[float, "no flag"] = 4.0
    workers: Annotated[int | None, "no flag"] = None
    decoder: Annotated[Literal[DECODERS], "no flag"] = "pillow"


@dataclasses.dataclass(frozen=True)
class EdgeImages(Images):
    """Images by name, with their edges as `source`; the arguments are those of `Images`."""

    def load(self, seed: int = 0, min_classes: int = 2) -> Splits:
        """Load the splits, and detect the edges.

        Args:
          seed: seed of the held-out validation images.
          min_classes: least number of classes of labeled images.

        Returns:
          The splits; a message gives the L1 distance of test images from the mean training image.

        Raises:
          ValueError: the images do not fit into memory.
        """
        splits = super().load(seed, min_classes)
        size = self.input_size(Facts.of(splits.spec))

        def with_edges(source: Source) -> Source:
            pixels = _in_memory(source, size)
            return Source({"source": edge_map(pixels), "image": pixels}, len(source), name=source.name)

        train, valid, test = map(with_edges, (splits.train, splits.valid, splits.test))
        mean = train.arrays["image"][:10_000].mean(0)
        l1_of_mean = np.abs(test.arrays["image"][:10_000] - mean).mean() / 255
        shape = list(train.arrays["image"].shape[1:])
        spec = {**splits.spec, "image_shape": shape, "batch": _float_batch(train)}
        message = f"l1 of the mean training image on the test split: {l1_of_mean:.4f}"
        return Splits(train, valid, test, spec, (*splits.notes, message), shown=test.take(min(64, len(test))))

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique nothing: it takes bytes as they are."""
        return {}


def _float_batch(train: Source) -> dict[str, list]:
    """Describe the batch of `predict`: images as floats in [0, 1]; the data hold bytes."""
    return {name: [shape, "float32"] for name, (shape, _) in batch_facts(train).items()}


def target_evaluators(pairs: Mapping[str, str], splits: Splits, split: str) -> list[Evaluator]:
    """Build the evaluator of the similarity of translated test images to their targets.

    Args:
      pairs: images among the outputs of `predict` -> their targets in the data.
      splits: the data.
      split: "valid" while training, or "test".

    Returns:
      PSNR and LPIPS, in the maps of the small VGG that dlcore ships, each weighted by 1; none for "valid", and none
      where the test images have no targets.
    """
    test_pairs = {image: target for image, target in pairs.items() if target in splits.test.arrays}
    if split == "valid" or not test_pairs or len(splits.test) < 2:
        return []
    network = load_network(PACKED)
    normalize = normalizer(network.mean, network.std, size=network.side)

    def maps(images: jax.Array) -> dict[str, jax.Array]:
        return network.model.apply(network.variables, normalize(images), train=False, method="features")

    return [image_pair_evaluator(maps, test_pairs)]


def _in_memory(source: Source, size: int | tuple[int, int] | None) -> np.ndarray:
    """Return the resized images, [N, H, W, C] uint8."""
    pixels = source.arrays["image"]
    if not isinstance(pixels, np.ndarray):
        raise ValueError(f"{source.name}: too many images to hold in memory; allowed: at most 4 GiB, by --image_size")
    pixels = pixels if pixels.dtype == np.uint8 else np.rint(255 * pixels).astype(np.uint8)
    return pixels if size is None else _resized(pixels, size)


def _resized(pixels: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    from PIL import Image

    height, width = np.broadcast_to(size, 2).tolist()

    def resize(image: np.ndarray) -> np.ndarray:
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR)).reshape(height, width, -1)

    return np.stack([resize(image) for image in pixels])


def _inked(digits: np.ndarray, kind: str) -> np.ndarray:
    """Color digits as one domain does.

    Args:
      digits: [N, H, W, 1] uint8, 255 for ink.
      kind: domain, a (red on white) or b (blue on gray).

    Returns:
      [N, H, W, 3] uint8.
    """
    paper, ink = (np.array(color, np.float32) for color in INKS[kind])
    coverage = digits.astype(np.float32) / 255
    return np.rint(paper + coverage * (ink - paper)).astype(np.uint8)


def unpaired_source(a: np.ndarray, b: np.ndarray, cut_longer: bool = False, name: str = "unpaired") -> Source:
    """Build a source of images of two domains, without pairs.

    Args:
      a: [N, H, W, C] images of domain a.
      b: [N, H, W, C] images of domain b.
      cut_longer: drop images from the end of the longer list.
      name: name of the source.

    Returns:
      The source with `a` and `b`.
    """
    if len(a) != len(b) and not cut_longer:
        raise ValueError(f"{name}: {len(a)} images of a and {len(b)} of b; allowed: as many of each, or --cut_longer")
    n = min(len(a), len(b))
    return Source({"a": a[:n], "b": b[:n]}, n, name=name)


@dataclasses.dataclass(frozen=True)
class UnpairedImages(Images):
    """Images of two domains, a and b, without pairs: half of the digits in each color, or two folders.

    Validation and test digits also have their target images, `b_of_a` and `a_of_b`. Other arguments are those of
    `Images`.

    Args:
      dataset: digits (embedded) or a tfds name such as mnist, half of them in red ink and half in blue; or folder, with
        trainA, trainB, testA and testB
      image_size: side of the images; of a folder by default 64
      cut_longer: folder: leave out images of the longer list at its end
    """

    cut_longer: bool = False

    def load(self, seed: int = 0, min_classes: int = 2) -> Splits:
        """Load the splits.

        Args:
          seed: seed of the held-out validation images.
          min_classes: least number of classes of labeled images.

        Returns:
          The splits.

        Raises:
          ValueError: two lists have different lengths, or the images do not fit into memory.
          FileNotFoundError: a folder is missing.
        """
        if self.dataset == "folder":
            train, valid, test, messages = self._folders(seed)
        else:
            splits = super().load(seed, min_classes)
            messages, size = splits.notes, self.input_size(Facts.of(splits.spec))

            def halves(source: Source, seed: int) -> tuple[np.ndarray, np.ndarray]:
                pixels = _in_memory(source, size)
                if pixels.shape[-1] != 1:
                    raise ValueError(f"dataset={self.dataset}: color images; allowed: gray images")
                order = np.random.default_rng(seed).permutation(len(pixels) // 2 * 2)
                return pixels[order[::2]], pixels[order[1::2]]

            def with_targets(source: Source) -> Source:
                a, b = halves(source, 1)
                arrays = {"a": _inked(a, "a"), "b": _inked(b, "b"), "b_of_a": _inked(a, "b"), "a_of_b": _inked(b, "a")}
                return Source(arrays, len(a), name=source.name)

            a, b = halves(splits.train, 0)
            train = unpaired_source(_inked(a, "a"), _inked(b, "b"), name=splits.train.name)
            valid, test = with_targets(splits.valid), with_targets(splits.test)
        shape = list(train.arrays["a"].shape[1:])
        spec = {"dataset": self.dataset, "image_shape": shape, "batch": _float_batch(train)}
        return Splits(train, valid, test, spec, tuple(messages), shown=test.take(min(64, len(test))))

    def _folders(self, seed: int) -> tuple[Source, Source, Source, tuple[str, ...]]:
        from dlcore.data.decoding import load_image
        from dlcore.data.image_folder import list_images

        if self.data_dir is None:
            raise ValueError("data_dir=None: dataset 'folder' needs a folder of trainA, trainB, testA and testB")
        side, root = self.image_size or 64, Path(self.data_dir)

        def read(name: str) -> np.ndarray:
            if not (root / name).is_dir():
                raise FileNotFoundError(
                    f"data_dir={self.data_dir!r}: has no folder {name}; allowed: with trainA, trainB, testA and testB"
                )
            return prediction.read_all(list_images(root / name), lambda path: load_image(path, side, 3), self.skip_bad)[
                0
            ]

        sides = {name: read(name) for name in ("trainA", "trainB", "testA", "testB")}
        train = unpaired_source(sides["trainA"], sides["trainB"], self.cut_longer, "train")
        test = unpaired_source(sides["testA"], sides["testB"], self.cut_longer, "test")
        if len(train) < 2:
            raise ValueError(
                f"data_dir={self.data_dir!r}: trainA and trainB hold {len(train)} image of each; allowed: at least 2, "
                "one for validation"
            )
        order = np.random.default_rng(seed).permutation(len(train))
        num_valid = max(1, round(self.valid_fraction * len(train)))
        messages = (f"{len(train)} unpaired training images of each kind, {num_valid} of them for validation",)
        return train.subset(np.sort(order[num_valid:])), train.subset(np.sort(order[:num_valid])), test, messages

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique nothing: it takes bytes as they are."""
        return {}


def downscale(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Downscale images by Pillow's bicubic filter.

    Args:
      pixels: [N, H, W, C] uint8.
      factor: factor by which both sides shrink.

    Returns:
      [N, H / factor, W / factor, C] uint8.
    """
    from PIL import Image

    check_whole_number("factor", factor, 1)
    check_shapes(pixels=(pixels, "N H W C"))

    height, width = pixels.shape[1:3]
    if height % factor or width % factor:
        raise ValueError(f"image_size={height}: no multiple of factor={factor}; allowed: {height - height % factor}")
    size = (width // factor, height // factor)
    return np.stack([np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)) for image in pixels])


@dataclasses.dataclass(frozen=True)
class SmallPhotographs:
    """Photographs; a network that enlarges them also gets downscaled copies, `low`.

    Without `data_dir` they are crops of one photograph: from its left part for training, from its right part for
    testing.

    Args:
      data_dir: folder (or .zip) of images, or of Flickr8k; by default a photograph that comes with scikit-learn
      image_size: side of the large images; by default 128 of Flickr8k and 64 of others
    """

    data_dir: Annotated[str | None, "essential"] = None
    image_size: Annotated[int | None, Range(4)] = None

    reads_files: ClassVar[bool] = True

    def __post_init__(self):
        check_record(self)

    def load(self, seed: int = 0) -> Splits:
        """Load the large images.

        Args:
          seed: seed of the splits of a folder.

        Returns:
          The splits of `image`.
        """
        from dlcore.data.carving import shared_images

        messages = ()
        if self.data_dir is not None and not _is_flickr8k(self.data_dir):
            from dlcore.data.image_classification import load

            side, name = self.image_size or 64, "folder"
            loaded = load("folder", self.data_dir, seed=seed, image_size=side, min_classes=0)
            pixels = {split: _in_memory(getattr(loaded, split), None) for split in ("train", "valid", "test")}
            pixels = {split: np.broadcast_to(x, (*x.shape[:3], 3)) for split, x in pixels.items()}
            messages = loaded.notes
        elif self.data_dir is not None:
            from dlcore.data.flickr8k import flickr8k

            side, name = self.image_size or 128, "flickr8k"
            pixels = {split: images.image for split, images in flickr8k(self.data_dir, side).items()}
        else:
            side, name = self.image_size or 64, "photograph"
            pixels = _pieces(side)
        train, valid, test = (
            Source({"image": pixels[split]}, name=f"{name}/{split}") for split in ("train", "valid", "test")
        )
        if name == "flickr8k":
            messages = shared_images(train, valid, test)
        spec = {"dataset": name, "image_shape": [side, side, 3], "batch": _float_batch(train)}
        return Splits(train, valid, test, spec, messages, test.take(min(64, len(test))))

    def finish_data(self, splits: Splits, run: Run) -> Splits:
        """Add copies that are smaller by the factor of the generator."""
        return with_small(splits, run.parts.network.modules["generator"].keywords["factor"])


def with_small(splits: Splits, factor: int) -> Splits:
    """Add downscaled copies of images, `low`.

    Args:
      splits: splits of `image`, in memory.
      factor: ratio of the sides of the large images and of the small ones.

    Returns:
      The splits of `low` and `image`.
    """

    def both(source: Source) -> Source:
        pixels = source.arrays["image"]
        return Source({"low": downscale(pixels, factor), "image": pixels}, len(source), name=source.name)

    train, valid, test = map(both, (splits.train, splits.valid, splits.test))
    spec = {**splits.spec, "batch": _float_batch(train)}
    return splits._replace(train=train, valid=valid, test=test, spec=spec, shown=test.take(min(64, len(test))))


def _is_flickr8k(folder: str) -> bool:
    return any(Path(folder).glob("captions_*.json*"))


def _pieces(side: int) -> dict[str, np.ndarray]:
    """Crop squares from a 427 x 640 photograph; the splits share no column."""
    from dlcore.data.sample_images import sample_image

    if side > 128:
        raise ValueError(f"image_size={side}: larger than the photograph's columns; allowed: at most 128")
    photograph, step = sample_image("china", 427), side // 4
    columns = {"train": (0, 384), "valid": (384, 512), "test": (512, 640)}
    return {
        split: np.stack(
            [
                photograph[y : y + side, x : x + side]
                for y in range(0, photograph.shape[0] - side + 1, step)
                for x in range(first, last - side + 1, step)
            ]
        )
        for split, (first, last) in columns.items()
    }
