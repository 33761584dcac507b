"""Time the input of images that do not fit in memory, beside torch's DataLoader, in turns on one machine.

python -m experiments.bench.input
python -m experiments.bench.input --images=512 --size=224 --workers=0,1,2 --repeats=5

JPEGs of 500 x 375 (windows of scikit-learn's two photographs with noise on them, so that they are as sharp as a
camera's) are read, decoded, cut to a random box, scaled to 224, mirrored half of the time and put into uint8 batches,
shuffled. One turn is a pass over all images, with batches made ahead as in training; the turns of all loaders are
shuffled, so that a busy machine hits them all. A loader of w workers has w threads (ours, grain's) or processes
(torch's) that decode; with none, one thread does everything.

Images/s a core are images a second of processor time, of all threads and processes of the loader.

torch's loader runs torchvision's transforms as people write them, and, in a second form, our own decoding.

Seen in three runs (--images=256, 3 to 7 repeats) on two cores that others kept busy (AMD EPYC, Pillow 13, torch 2.15):
515 to 555 images/s a core, over torch's 1.04 to 1.09 with no worker, 1.14 to 1.21 with one, 1.09 to 1.25 with two; over
torch with our decoding 0.96, 1.07 to 1.10, 1.04 to 1.12; with OpenCV 900 to 1025 images/s a core. By the clock the load
decided, not the loaders.

Seen on two cores of an AMD EPYC beside a light load, 384 images, images/s with no worker and with two: ours 550 and 976
(549 and 562 a core), with OpenCV 1,040 and 1,704, from ArrayRecord 568 and 1,023; torch 528 and 988 (544 and 503 a
core), grain with our decoding 913 with two. Ours over torch 1.04 and .99, a core 1.01 and 1.12: level, as both wait for
the same JPEG library, and each turn of a pair differs by up to a quarter.
"""

import argparse
import functools
import importlib.util
import itertools
import json
import os
import pathlib
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from dlcore.data.decoding import Box, decode_box, random_box
from dlcore.data.image_classification import folder_splits
from dlcore.data.pipeline import Pipeline
from dlcore.data.prefetch import prefetch
from dlcore.data.streaming import StreamedImages, random_crops
from dlcore.data.workers import Workers
from experiments.bench.conv import Times, ratio

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


def passes(pipeline: Pipeline, epochs: int) -> int:
    """One pass; the number of images that came. `epochs` is how many came before."""
    steps = pipeline.steps_per_epoch
    with prefetch(pipeline.batch_at, epochs * steps, (epochs + 1) * steps) as batches:
        return sum(len(batch["image"]) for _, batch in batches)


def ours(source: Any, batch: int) -> Callable[[], int]:
    pipeline, epochs = Pipeline(random_crops(source), batch), itertools.count()
    return lambda: passes(pipeline, next(epochs))


def from_folder(folder: pathlib.Path, size: int, batch: int, workers: Workers) -> Callable[[], int]:
    return ours(folder_splits(folder, size, limit_bytes=0, workers=workers)["all"], batch)


def from_records(paths: list[pathlib.Path], size: int, batch: int, workers: Workers) -> Callable[[], int]:
    """As from_folder, from one file of ArrayRecord that holds the same bytes."""
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
    return ours(Source({"image": images}), batch)


def mirrored_or_not(rng: np.random.Generator, height: int, width: int) -> Box:
    return random_box(rng, height, width)._replace(mirrored=bool(rng.random() < 0.5))


class Decoded:
    """A torch data set over files that decodes as we do."""

    def __init__(self, paths: list[pathlib.Path], size: int):
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        import torch

        rng = np.random.default_rng((random.getrandbits(31), i))
        image = decode_box(self.paths[i].read_bytes(), functools.partial(mirrored_or_not, rng), (self.size, self.size))
        return torch.from_numpy(image.copy()), i % 2


def torch_passes(dataset: Any, batch: int, workers: int) -> Callable[[], int]:
    import torch

    torch.set_num_threads(1)
    options = {"prefetch_factor": 2, "persistent_workers": True} if workers else {}
    loader = torch.utils.data.DataLoader(dataset, batch, shuffle=True, num_workers=workers, **options)
    return lambda: sum(len(image) for image, _ in loader)


def torchvision_dataset(folder: pathlib.Path, size: int) -> Any:
    from torchvision import datasets, transforms

    chain = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
    return datasets.ImageFolder(str(folder), transforms.Compose(chain))


def grain_passes(paths: list[pathlib.Path], size: int, batch: int, workers: int) -> Callable[[], int]:
    """grain's MapDataset with our decoding, read by threads."""
    import grain

    def decoded(path: pathlib.Path, rng: np.random.Generator) -> np.ndarray:
        return decode_box(path.read_bytes(), functools.partial(mirrored_or_not, rng), (size, size))

    data = grain.MapDataset.source(paths).seed(0).shuffle().random_map(decoded).batch(batch)
    options = grain.ReadOptions(num_threads=max(workers, 1), prefetch_buffer_size=2)
    return lambda: sum(len(images) for images in data.to_iter_dataset(options))


def there(*names: str) -> bool:
    return all(importlib.util.find_spec(name) is not None for name in names)


def loaders(paths: list[pathlib.Path], size: int, batch: int, counts: Sequence[int]) -> dict[str, Callable[[], int]]:
    """Name -> a pass over all images, for what is installed here."""
    folder, found = paths[0].parent.parent, {}
    for count in counts:
        end = f", {count} workers"
        found["ours" + end] = from_folder(folder, size, batch, Workers(count))
        if there("cv2"):
            found["ours, OpenCV" + end] = from_folder(folder, size, batch, Workers(count, "opencv"))
        if there("array_record"):
            found["ours, ArrayRecord" + end] = from_records(paths, size, batch, Workers(count))
        if there("torch", "torchvision"):
            found["torch" + end] = torch_passes(torchvision_dataset(folder, size), batch, count)
        if there("torch"):
            found["torch, our decoding" + end] = torch_passes(Decoded(paths, size), batch, count)
        if there("grain") and count:
            found["grain, our decoding" + end] = grain_passes(paths, size, batch, count)
    return found


def cpu_seconds() -> float:
    """Processor time of this process and of its living children so far."""
    total, tick = time.process_time(), os.sysconf("SC_CLK_TCK")
    for file in pathlib.Path("/proc/self/task").glob("*/children"):
        for child in file.read_text().split():
            fields = pathlib.Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / tick
    return total


def in_turns(functions: dict[str, Callable[[], int]], repeats: int) -> dict[str, Times]:
    """Seconds an image of every loader: on the clock, and of all cores."""
    times, order = {name: Times([], []) for name in functions}, random.Random(0)
    for function in functions.values():
        function()
    for _ in range(repeats):
        for name, function in order.sample(list(functions.items()), len(functions)):
            wall, cpu = time.perf_counter(), cpu_seconds()
            count = function()
            times[name].wall.append((time.perf_counter() - wall) / count)
            times[name].cpu.append((cpu_seconds() - cpu) / count)
    return times


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--size", type=int, default=224, help="side of the images that come out")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", default="0,1,2", help="numbers of workers, with commas")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path, help="where to write all times and ratios")
    options = parser.parse_args(argv)
    counts = [int(count) for count in options.workers.split(",")]

    with tempfile.TemporaryDirectory() as root:
        folder = pathlib.Path(root) / "images"
        folder.mkdir()
        paths = write_jpegs(folder, options.images)
        kib = sum(path.stat().st_size for path in paths) / len(paths) / 1024
        cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
        print(f"{options.images} JPEGs of {WIDTH} x {HEIGHT}, {kib:.0f} KiB each, to {options.size}; ", end="")
        print(f"{cores} cores, load {load:.1f}")
        times = in_turns(loaders(paths, options.size, options.batch, counts), options.repeats)
    missing = [name for name in ("torch", "torchvision", "cv2", "array_record", "grain") if not there(name)]
    if missing:
        print(f"not installed here, left out: {', '.join(missing)}")
    print(f"\n{'':32s} {'images/s':>9s}   {'(low to high)':16s} {'images/s a core':>15s}")
    for name, (wall, cpu) in times.items():
        low, middle, high = 1 / max(wall), 1 / statistics.median(wall), 1 / min(wall)
        spread = f"({low:.0f} to {high:.0f})"
        print(f"{name:32s} {middle:9.0f}   {spread:16s} {1 / statistics.median(cpu):15.0f}")
    ratios = {}
    for count, other in itertools.product(counts, ("torch", "torch, our decoding", "grain, our decoding")):
        below, above = f"ours, {count} workers", f"{other}, {count} workers"
        if above in times:
            ratios[f"ours over {above}"] = ratio(times, above, below)
    for name, r in ratios.items():
        spread = f"{r['low']:.2f} to {r['high']:.2f}; a core {r['cpu']:.2f}"
        print(f"{'' if name != next(iter(ratios)) else chr(10)}{name:40s} {r['median']:5.2f}   ({spread})")
    results = {
        "ratios": ratios,
        "seconds_an_image": {name: t._asdict() for name, t in times.items()},
        "options": {k: v for k, v in vars(options).items() if k != "json"},
        "machine": {"cores": cores, "load": load, "system": platform.platform()},
    }
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return results


if __name__ == "__main__":
    main()
