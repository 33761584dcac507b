"""Time the input of images that do not fit in memory, against torch's DataLoader, in turns on one machine.

python -m experiments.bench.input_pipeline
python -m experiments.bench.input_pipeline --num_images=512 --image_size=224 --workers=0,1,2 --num_repeats=5

JPEGs of 500 x 375 (windows of scikit-learn's two photographs with noise added, so that they are as sharp as a camera's)
are read, decoded, cut to a random box, scaled to 224, mirrored half of the time and put into uint8 batches, shuffled.
One turn is an epoch over all images, with batches prefetched as in training; the turns of all loaders are shuffled, so
that a busy machine slows all. A loader of w workers decodes in w threads (ours, grain's) or processes (torch's); with
none, one thread does everything. "ours" reads files, WebDataset shards, Parquet files (row groups of 64 images) and
ArrayRecord files; "ours, grain's threads" is --input_pipeline=grain, which reads two of our batches at once.

Images/s a core are images a second of processor time, of all threads and processes of the loader.

torch's loader runs torchvision's usual transforms, and, as a second loader, our own decoding.

Measured in three runs (256 images, 3 to 7 turns) on two busy cores (AMD EPYC, Pillow 13, torch 2.15): 515 to 555
images/s a core, over torch's 1.04x to 1.09x with no worker, 1.14x to 1.21x with one, 1.09x to 1.25x with two; over
torch with our decoding 0.96x, 1.07x to 1.10x, 1.04x to 1.12x; with OpenCV 900 to 1025 images/s a core. By the clock the
load of the machine decided, not the loaders.

Measured on two cores of an AMD EPYC beside a light load, 384 images, images/s with no worker and with two: ours 550 and
976 (549 and 562 a core), with OpenCV 1,040 and 1,704, from ArrayRecord 568 and 1,023; torch 528 and 988 (544 and 503 a
core), grain with our decoding 913 with two. Ours over torch 1.04x and 0.99x, a core 1.01x and 1.12x: equal, as both
spend their time in the same JPEG library, and the turns of a pair differ by up to a quarter.

Measured on two cores of an Intel Xeon with AVX-512 under a load of 9, 128 images, 5 turns, images/s a core with no
worker and with two: files 546 and 529, WebDataset 517 and 527, Parquet (whose row groups stayed in memory) 548 and 538,
ArrayRecord 561 and 535, files by --input_pipeline=grain 516 and 528, grain with our decoding 488 with two. Decoding
takes the time, and neither the reader nor the input pipeline changes it beyond the spread of the turns.
"""

import functools
import importlib.util
import io
import itertools
import os
import pathlib
import random
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from dlcore.data.decoding import Box, decode_box, random_box
from dlcore.data.image_classification import folder_splits, shard_splits
from dlcore.data.input_pipeline import open_batches
from dlcore.data.pipeline import Pipeline
from dlcore.data.streaming import StreamedImages, Workers, random_crops
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.run import provenance
from experiments.bench.timing import bar_chart, interleaved, ratio

HEIGHT, WIDTH = 375, 500


def write_jpegs(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
    """`count` JPEGs of quality 90 in two class folders."""
    from sklearn.datasets import load_sample_images

    photographs, rng, paths = load_sample_images().images, np.random.default_rng(0), []
    for i in range(count):
        whole = photographs[i % 2]
        top, left = rng.integers(whole.shape[0] - HEIGHT + 1), rng.integers(whole.shape[1] - WIDTH + 1)
        pixels = whole[top : top + HEIGHT, left : left + WIDTH] + rng.normal(0, 3, (HEIGHT, WIDTH, 3))
        path = folder / ("china", "flower")[i % 2] / f"{i:05}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
        paths.append(path)
    return paths


def write_webdataset(paths: list[pathlib.Path], file: pathlib.Path) -> pathlib.Path:
    """One shard of the JPEGs and their classes."""
    with tarfile.open(file, "w") as archive:
        for path in paths:
            for name, data in ((path.name, path.read_bytes()), (f"{path.stem}.cls", path.parent.name.encode())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return file


def write_parquet(paths: list[pathlib.Path], file: pathlib.Path) -> pathlib.Path:
    """One Parquet file of the JPEGs and their classes, as on the Hugging Face hub."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [{"bytes": path.read_bytes(), "path": path.name} for path in paths]
    pq.write_table(pa.table({"image": images, "label": [path.parent.name for path in paths]}), file, row_group_size=64)
    return file


def read_epoch(pipeline: Pipeline, epoch: int, input_pipeline: str) -> int:
    """Read all batches of an epoch; the number of images."""
    steps = pipeline.steps_per_epoch
    with open_batches(input_pipeline, pipeline.batch_at, epoch * steps, (epoch + 1) * steps) as batches:
        return sum(len(batch["image"]) for _, batch in batches)


def our_loader(source: Any, batch_size: int, input_pipeline: str = "dlcore") -> Callable[[], int]:
    pipeline, epochs = Pipeline(random_crops(source), batch_size), itertools.count()
    return lambda: read_epoch(pipeline, next(epochs), input_pipeline)


def folder_loader(
    folder: pathlib.Path, size: int, batch_size: int, workers: Workers, input_pipeline: str = "dlcore"
) -> Callable[[], int]:
    source = folder_splits(folder, size, limit_bytes=0, workers=workers)["all"]
    return our_loader(source, batch_size, input_pipeline)


def shard_loader(file: pathlib.Path, kind: str, size: int, batch_size: int, workers: Workers) -> Callable[[], int]:
    source = shard_splits(file, kind, image_size=size, limit_bytes=0, workers=workers)["all"]
    return our_loader(source, batch_size)


def array_record_loader(paths: list[pathlib.Path], size: int, batch_size: int, workers: Workers) -> Callable[[], int]:
    """As `folder_loader`, from one ArrayRecord file that holds the same bytes."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource
    from array_record.python.array_record_module import ArrayRecordWriter

    from dlcore.data.source import Source

    file = paths[0].parent.parent.with_suffix(".array_record")
    if not file.exists():
        writer = ArrayRecordWriter(str(file), "group_size:1")
        for path in paths:
            writer.write(path.read_bytes())
        writer.close()
    records = ArrayRecordDataSource([str(file)])
    images = StreamedImages(records.__getitem__, str, np.arange(len(paths)), (size, size), workers=workers)
    return our_loader(Source({"image": images}), batch_size)


def random_mirrored_box(rng: np.random.Generator, height: int, width: int) -> Box:
    return random_box(rng, height, width)._replace(mirrored=bool(rng.random() < 0.5))


class DecodedDataset:
    """A torch dataset over files with our decoding."""

    def __init__(self, paths: list[pathlib.Path], size: int):
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        import torch

        rng = np.random.default_rng((random.getrandbits(31), i))
        image = decode_box(
            self.paths[i].read_bytes(), functools.partial(random_mirrored_box, rng), (self.size, self.size)
        )
        return torch.from_numpy(image.copy()), i % 2


def torch_loader(dataset: Any, batch_size: int, workers: int) -> Callable[[], int]:
    import torch

    torch.set_num_threads(1)
    options = {"prefetch_factor": 2, "persistent_workers": True} if workers else {}
    loader = torch.utils.data.DataLoader(dataset, batch_size, shuffle=True, num_workers=workers, **options)
    return lambda: sum(len(image) for image, _ in loader)


def torchvision_dataset(folder: pathlib.Path, size: int) -> Any:
    from torchvision import datasets, transforms

    chain = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
    return datasets.ImageFolder(str(folder), transforms.Compose(chain))


def grain_loader(paths: list[pathlib.Path], size: int, batch_size: int, workers: int) -> Callable[[], int]:
    """grain's MapDataset with our decoding, read by threads."""
    import grain

    def decoded(path: pathlib.Path, rng: np.random.Generator) -> np.ndarray:
        return decode_box(path.read_bytes(), functools.partial(random_mirrored_box, rng), (size, size))

    data = grain.MapDataset.source(paths).seed(0).shuffle().random_map(decoded).batch(batch_size)
    options = grain.ReadOptions(num_threads=max(workers, 1), prefetch_buffer_size=2)
    return lambda: sum(len(images) for images in data.to_iter_dataset(options))


def installed(*names: str) -> bool:
    """Whether all these packages are installed."""
    return all(importlib.util.find_spec(name) is not None for name in names)


def loaders(
    paths: list[pathlib.Path], size: int, batch_size: int, counts: Sequence[int]
) -> dict[str, Callable[[], int]]:
    """Name -> an epoch over all images, for the packages that are installed."""
    folder, epochs = paths[0].parent.parent, {}
    shards = {"webdataset": write_webdataset(paths, folder.with_suffix(".tar"))}
    if installed("pyarrow"):
        shards["parquet"] = write_parquet(paths, folder.with_suffix(".parquet"))
    for count in counts:
        suffix = f", {count} workers"
        epochs["ours" + suffix] = folder_loader(folder, size, batch_size, Workers(count))
        for kind, file in shards.items():
            epochs[f"ours, {kind}{suffix}"] = shard_loader(file, kind, size, batch_size, Workers(count))
        if installed("grain"):
            epochs["ours, grain's threads" + suffix] = folder_loader(folder, size, batch_size, Workers(count), "grain")
        if installed("cv2"):
            epochs["ours, OpenCV" + suffix] = folder_loader(folder, size, batch_size, Workers(count, "opencv"))
        if installed("array_record"):
            epochs["ours, ArrayRecord" + suffix] = array_record_loader(paths, size, batch_size, Workers(count))
        if installed("torch", "torchvision"):
            epochs["torch" + suffix] = torch_loader(torchvision_dataset(folder, size), batch_size, count)
        if installed("torch"):
            epochs["torch, our decoding" + suffix] = torch_loader(DecodedDataset(paths, size), batch_size, count)
        if installed("grain") and count:
            epochs["grain, our decoding" + suffix] = grain_loader(paths, size, batch_size, count)
    return epochs


def cpu_seconds() -> float:
    """Processor time of this process and of its living children so far."""
    total, tick = time.process_time(), os.sysconf("SC_CLK_TCK")
    for file in pathlib.Path("/proc/self/task").glob("*/children"):
        for child in file.read_text().split():
            fields = pathlib.Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / tick
    return total


def measure(
    *,
    num_images: PositiveInt = 512,
    image_size: PositiveInt = 224,
    batch_size: PositiveInt = 64,
    workers: tuple[int, ...] = (0, 1, 2),
    num_repeats: PositiveInt = 5,
) -> StudyResult:
    """Time epochs of every loader that is installed.

    Args:
      num_images: JPEGs to write and read.
      image_size: side of the images in the batches.
      batch_size: images a batch.
      workers: numbers of workers to try.
      num_repeats: epochs of each loader, shuffled.
    """
    if num_images % batch_size:
        raise ValueError(
            f"num_images={num_images}: loaders drop the rest; allowed: multiples of batch_size={batch_size}"
        )
    with tempfile.TemporaryDirectory() as root:
        folder = pathlib.Path(root) / "images"
        folder.mkdir()
        paths = write_jpegs(folder, num_images)
        functions = loaders(paths, image_size, batch_size, workers)
        kib, load = sum(path.stat().st_size for path in paths) / len(paths) / 1024, os.getloadavg()[0]
        times = interleaved(functions, num_repeats, steps=num_images, cpu_clock=cpu_seconds)
    numbers: dict[str, Any] = {"KiB a JPEG": kib, "load before": load}
    speeds: dict[str, dict[str, float]] = {}
    for name, seconds in times.items():
        speeds[name] = {"images/s": 1 / seconds.median, "images/s a core": 1 / statistics.median(seconds.cpu)}
        numbers |= {f"{name}: {key}": value for key, value in speeds[name].items()}
    ratios = {}
    loader_names = ("ours, webdataset", "ours, parquet", "ours, grain's threads", "torch", "torch, our decoding")
    for count, other in itertools.product(workers, (*loader_names, "grain, our decoding")):
        if (above := f"{other}, {count} workers") in times:
            ratios[above] = ratio(times, above, f"ours, {count} workers")
            numbers |= ratios[above].rows(f"{above} over ours")
    missing = [
        name for name in ("torch", "torchvision", "cv2", "array_record", "pyarrow", "grain") if not installed(name)
    ]
    verdict = f"{provenance.hardware()}, {num_images} JPEGs to {image_size}: " + ", ".join(
        [f"{name} {values['images/s']:.0f} images/s" for name, values in speeds.items() if name.startswith("ours, ")]
        + [f"{r.median:.2f}x {name}" for name, r in ratios.items()]
    )
    verdict += f". Not installed: {', '.join(missing)}." if missing else "."
    headline = Headline(
        f"images/s a core, {workers[0]} workers",
        speeds[f"ours, {workers[0]} workers"]["images/s a core"],
        "JPEGs",
        tolerance=0.5,
    )
    figures = {"images_per_second": bar_chart(speeds, "images/s", reference=None)}
    return StudyResult(numbers, verdict, figures, headline=headline)


SMOKE = {"num_images": 16, "image_size": 32, "batch_size": 8, "workers": (0,), "num_repeats": 2}
experiment = Study(__file__, __doc__, measure, SMOKE)

if __name__ == "__main__":
    main(experiment)
