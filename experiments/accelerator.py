"""What a GPU or TPU should answer, in order of value, each in ten minutes at most.

python -m experiments.accelerator --list                                   what there is, and what has been answered
python -m experiments.accelerator --minutes=25 --data_dir=D                as much as fits, in order
python -m experiments.accelerator --only=step-resnet50 ppo                 these
python -m experiments.accelerator --smoke --only=step-resnet50             the pages' small settings, on a CPU too

Each item is a command of this checkout, run as a process of its own in the folder OUT/ITEM (`--out`, by default
runs/accelerator). A training that reaches its limit gets SIGTERM, saves, and goes on at the next call. What has been
answered is not run again. OUT/accelerator.jsonl gets a line for each item: its outcome, seconds, devices, and the line
for the ledger; `python -m experiments.results --add OUT/ITEM` enters it. D holds tfds (with cifar10, mnist and
fashion_mnist), text and flickr8k.

Items run one after another, because a GPU serves processes in turns: on an H100 the U-Net of CamVid took 51 steps a
second alone, 21 beside one other training and 4 beside thirteen.
"""

import argparse
import datetime
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from dlcore.run.preemption import REQUEUE

__all__ = ["ITEMS", "Item", "main"]

ROOT = pathlib.Path(__file__).resolve().parents[1]
LOG, DEFAULT_OUT = "accelerator.jsonl", "runs/accelerator"
GRACE_SECONDS = 60
"""How long a process may save after SIGTERM before it is killed."""

DONE, STOPPED, FAILED, OPEN = "done", "stopped, goes on", "failed", "open"


class Item(NamedTuple):
    """A question that needs an accelerator.

    Args:
      name: name of the item, and of its folder.
      question: question that it answers.
      command: a module of experiments/ and its flags, without the folders.
      minutes: limit of time; a training that is stopped there goes on at the next call.
    """

    name: str
    question: str
    command: str
    minutes: float

    @property
    def module(self) -> str:
        """The module that the command runs."""
        return "experiments." + self.command.split()[0]

    @property
    def exists(self) -> bool:
        """Whether this checkout has the module."""
        return (ROOT / (self.module.replace(".", "/") + ".py")).exists()


CIFAR = "--dataset=cifar10 --data_dir=$DATA_DIR/tfds --precision=bf16"
MNIST = "--dataset=mnist --data_dir=$DATA_DIR/tfds"
FASHION = "--dataset=fashion_mnist --data_dir=$DATA_DIR/tfds"
FEW = "--augment=auto --labels_per_class=10 --batch_size=64 --steps=3000 --eval_every=500"
STEP = "bench.step --precision=bf16 --num_repeats=10"
ITEMS = (
    Item("step-resnet50", "images/s and MFU of ResNet-50", f"{STEP} --models=resnet50 --batch_size=256", 4),
    Item("step-vit-b16", "images/s and MFU of ViT-B/16", f"{STEP} --models=vit_b_16 --batch_size=256", 4),
    Item("resume", "is a killed run byte for byte the same?", "bench.kill_resume --deterministic --kills=5", 6),
    Item("planned-memory", "plan's bytes beside the device's", "bench.planned_memory --device", 8),
    Item(
        "gpt-shakespeare",
        "GPT at nanoGPT's GPU setting",
        "sequence.language_model --dataset=shakespeare --data_dir=$DATA_DIR/text --precision=bf16 --model.num_layers=6"
        " --model.num_heads=6 --model.width=384 --model.dropout=0.2 --window=256 --batch_size=64 --steps=5000",
        10,
    ),
    Item(
        "mnist-pixel-cnn-12",
        "PixelCNN with 12 layers on MNIST",
        f"generative.pixel_cnn {MNIST} --batch_size=128 --epochs=25 --pixel_cnn.num_layers=12 --pixel_cnn.features=48"
        " --pixel_cnn.dropout=0.1 --eval_every=2000",
        10,
    ),
    Item(
        "fashion-noisy",
        "40 % wrong labels on Fashion-MNIST",
        f"semi_supervised.noisy_labels {FASHION} --augment=none --model.stem_stride=2 --model.width=32 --steps=14000"
        " --batch_size=128 --eval_every=1000",
        6,
    ),
    Item("mnist-vat", "VAT and entropy", f"semi_supervised.vat {MNIST} {FEW} --entropy_weight=1", 3),
    Item(
        "mnist-mean-teacher",
        "mean teacher with a weight of 300",
        f"semi_supervised.mean_teacher {MNIST} {FEW} --ramp_steps=500 --unlabeled_weight=300",
        3,
    ),
    Item(
        "fashion-fixmatch",
        "FixMatch with 250 labels of Fashion-MNIST",
        f"semi_supervised.fixmatch {FASHION} --augment=auto --steps=4000 --labels_per_class=25 --batch_size=64",
        3,
    ),
    Item(
        "fashion-conditional-gan",
        "class-conditional GAN on Fashion-MNIST",
        f"generative.conditional_gan {FASHION} --generator.width=24 --discriminator.width=24 --steps=6000"
        " --eval_every=2000",
        5,
    ),
    Item(
        "flickr8k-caption",
        "captions of photographs from scratch",
        "vision_language.caption --dataset=flickr8k --data_dir=$DATA_DIR/flickr8k --batch_size=32"
        " --captions_per_image=2 --augment=color --attention.dropout=0.3 --attention.hidden_size=384 --ema=0.999"
        " --label_smoothing=0.1 --learning_rate=0.001 --steps=3000 --eval_every=500 --blind_steps=1000",
        8,
    ),
    Item(
        "flickr8k-sr",
        "super-resolution by 2 of photographs",
        "generative.super_resolution --data_dir=$DATA_DIR/flickr8k --steps=4000 --eval_every=1000",
        5,
    ),
    Item(
        "cifar10-simclr",
        "SimCLR with a wide ResNet-20 on CIFAR-10",
        f"self_supervised.simclr {CIFAR} --batch_size=512 --epochs=120 --device_data --model=resnet20_cifar"
        " --model.width=64 --embedder.proj_dim=128 --eval_every=2000 --fine_tune=500,5000",
        10,
    ),
    Item(
        "cifar10-five-minutes",
        "CIFAR-10 in five minutes",
        f"classification.supervised {CIFAR} --model=resnet20_cifar --model.width=64 --batch_size=512 --epochs=30"
        " --optimizer=nesterov --learning_rate=0.4 --weight_decay=0.0005 --augment=crop_flip --device_data",
        5,
    ),
    Item("ppo", "environment steps/s of PPO beside stable-baselines3", "bench.rl --num_seeds=64", 4),
    Item("ppo-cartpole", "PPO balances the pole", "rl.ppo", 3),
    Item("knn", "nearest neighbors at 50x", "bench.knn --rows=60000 --queries=10000 --num_repeats=3 --least=50", 8),
    Item(
        "cifar10-ddpm",
        "DDPM on CIFAR-10",
        f"generative.ddpm {CIFAR} --batch_size=128 --steps=100000 --eval_every=20000 --device_data",
        10,
    ),
)
"""In order of value."""


def main(argv: Sequence[str] | None = None) -> int:
    """List the items, or run those that are asked for and fit; return 0, 1 where one failed, or 2 for bad arguments."""
    arguments = _parser().parse_args(argv)
    names = {item.name: item for item in ITEMS}
    if unknown := [name for name in arguments.only if name not in names]:
        print(f"error: --only={unknown[0]}: unknown; allowed: {', '.join(names)}", file=sys.stderr)
        return 2
    if not arguments.minutes > 0:
        print(f"error: --minutes={arguments.minutes}: not positive; allowed: more than 0", file=sys.stderr)
        return 2
    out = pathlib.Path(arguments.out or DEFAULT_OUT + "-smoke" * arguments.smoke)
    selected = [names[name] for name in arguments.only] or list(ITEMS)
    if arguments.list:
        print(listing(selected, out))
        return 0
    end, failed = time.monotonic() + 60 * arguments.minutes, 0
    for item in selected:
        left = (end - time.monotonic()) / 60
        if reason := _why_not(item, out, arguments.data_dir, left, arguments.smoke):
            print(f"{item.name}: {reason}", flush=True)
            continue
        line = run_item(item, out, arguments.data_dir, min(item.minutes, left), arguments.smoke)
        failed += line["status"] == FAILED
        print(f"{item.name}: {line['status']} after {line['seconds']:.0f} s. {line['says']}", flush=True)
    print(listing(selected, out))
    return int(failed > 0)


def outcomes(out: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Read the last line of accelerator.jsonl of each item below the folder of all items, by the item's name."""
    path = out / LOG
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {line["item"]: line for line in map(json.loads, lines)}


def listing(items: Sequence[Item], out: pathlib.Path) -> str:
    """Describe in a line for each item what its folder below `out` answers, and what is missing."""
    results_by_name, lines = outcomes(out), []
    for item in items:
        status = results_by_name.get(item.name, {}).get("status", OPEN) if item.exists else f"needs {item.module}"
        lines.append(f"{item.name:22}{item.minutes:4.0f} min  {status:18}{item.question}")
    return "\n".join(lines)


def run_item(item: Item, out: pathlib.Path, data_dir: str | None, minutes: float, smoke: bool) -> dict[str, Any]:
    """Run or continue an item for at most `minutes`, and return the line that was added to accelerator.jsonl.

    A smoke run has the page's small settings in place of the item's flags.
    """
    folder = out / item.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    words = [word.replace("$DATA_DIR", data_dir or "") for word in shlex.split(item.command)[1:]]
    words = ["--smoke"] if smoke else words
    command = [sys.executable, "-m", item.module, *words, f"--run_dir={folder}"]
    began, log = time.monotonic(), out / f"{item.name}.log"
    with log.open("a", encoding="utf-8") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
        status = _wait(process, 60 * minutes)
    result, config = (_json(folder / name) for name in ("result.json", "config.json"))
    line = {
        "item": item.name,
        "status": status,
        "seconds": round(time.monotonic() - began, 1),
        "smoke": smoke,
        "command": f"python -m {item.module} {' '.join(shlex.split(item.command)[1:])}".strip(),
        "hardware": (result or config or {}).get("hardware"),
        "date": datetime.date.today().isoformat(),
        "says": _last_line(log),
        "numbers": _json(folder / "numbers.json"),
        "result": result,
    }
    with (out / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    return line


def _wait(process: subprocess.Popen, seconds: float) -> str:
    """The outcome of a process that may take so long, and then has `GRACE_SECONDS` to save."""
    try:
        code = process.wait(seconds)
        return {0: DONE, REQUEUE: STOPPED}.get(code, FAILED)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(GRACE_SECONDS)
        return DONE if code == 0 else STOPPED
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return STOPPED


def _why_not(item: Item, out: pathlib.Path, data_dir: str | None, minutes_left: float, smoke: bool) -> str | None:
    """Why an item is not run now; None where it is."""
    status = outcomes(out).get(item.name, {}).get("status")
    if status == DONE:
        return "answered before"
    if not item.exists:
        return f"needs {item.module}, which this checkout lacks"
    if "$DATA_DIR" in item.command and not data_dir and not smoke:
        return "needs --data_dir"
    if minutes_left < (1 if status == STOPPED else item.minutes / 2):
        return f"needs {item.minutes:g} min, {max(minutes_left, 0):.1f} are left"
    return None


def _json(path: pathlib.Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _last_line(log: pathlib.Path) -> str:
    """What the process said last, without the line that names the report."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return next((line.strip() for line in reversed(lines) if not line.startswith("report:")), "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.accelerator",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--list", action="store_true", help="say what there is and what is missing; run nothing")
    parser.add_argument("--only", nargs="+", default=[], metavar="ITEM", help="these items, in this order")
    parser.add_argument("--minutes", type=float, default=25.0, help="time for all (default 25)")
    parser.add_argument("--out", help=f"folder of the results (default {DEFAULT_OUT}, or {DEFAULT_OUT}-smoke)")
    parser.add_argument(
        "--data_dir", default=os.environ.get("DATA_DIR"), help="folder that holds tfds, text and flickr8k"
    )
    parser.add_argument("--smoke", action="store_true", help="the pages' small settings, in seconds each")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
