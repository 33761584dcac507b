"""What experiments over text share: data by name, cut into streams, and samples in the report."""

from typing import Any

import numpy as np

from dlcore.data.source import Source
from dlcore.data.text import TEXTS, Vocabulary, load_text, split_text, streams
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError, Setting
from dlcore.experiment.splits import Splits
from dlcore.learner import Range

__all__ = ["SETTINGS", "data", "example", "panels", "stop_token"]

SETTINGS = {
    "dataset": Setting("pages", f"a text: {', '.join(TEXTS)}", essential=True),
    "data_dir": Setting(
        None, "shakespeare: the folder of tinyshakespeare.txt; file: the text file", str | None, essential=True
    ),
    "valid_fraction": Setting(
        0.1, "share of the text held out for validation, and as much again for test", limits=Range(0.001, 0.4)
    ),
    "eval_streams": Setting(
        16, "streams that validation and test are cut into, each read from a zero carry", limits=Range(1)
    ),
    "prompt": Setting("The ", "text that samples continue"),
    "temperatures": Setting((0.0, 0.5, 1.0), "of the samples in the report; 0 is greedy", limits=Range(0)),
    "num_samples": Setting(2, "samples at each temperature; one at temperature 0", limits=Range(1)),
    "stop": Setting(None, "a character that ends a sample", str | None),
}


def data(flags: Flags) -> Splits:
    """Load a text, cut into `--batch_size` streams for training; validation and test are whole.

    Args:
      flags: of SETTINGS.

    Returns:
      The splits; the report shows continuations of the prompt.

    Raises:
      ValueError: as `dlcore.data.text.load_text` and `streams`.
      FileNotFoundError: as `dlcore.data.text.load_text`.
      FlagError: the prompt is empty, or holds characters that are not in the text.
    """
    text = load_text(flags.dataset, flags.data_dir)
    vocabulary = Vocabulary.of(text)
    train, valid, test = split_text(vocabulary.encode(text), flags.valid_fraction)
    for name, value in (("prompt", flags.prompt), ("stop", flags.stop or "")):
        if unknown := sorted(set(value) - set(vocabulary.characters)):
            raise FlagError(f"--{name}={value!r}: {unknown[0]!r} is not in the text; allowed: its characters")
    if not flags.prompt:
        raise FlagError("--prompt='': empty; allowed: at least one character")
    temperatures = [t for t in flags.temperatures for _ in range(flags.num_samples if t > 0 else 1)]
    prompts = np.tile(vocabulary.encode(flags.prompt), (len(temperatures), 1))
    train_streams = streams(train, flags.batch_size, f"{flags.dataset} (train)")
    return Splits(
        train_streams,
        streams(valid, flags.eval_streams, f"{flags.dataset} (validation)", whole=True),
        streams(test, flags.eval_streams, f"{flags.dataset} (test)", whole=True),
        {
            "dataset": flags.dataset,
            "vocabulary": vocabulary.characters,
            "streams": list(train_streams.arrays["text"].shape),
            "characters": {"train": len(train), "valid": len(valid), "test": len(test)},
        },
        shown=Source({"prompt": prompts, "temperature": np.array(temperatures, np.float32)}, name="prompts"),
    )


def stop_token(flags: Flags, spec: dict) -> int | None:
    """Look up the token of `--stop`.

    Args:
      flags: of SETTINGS.
      spec: of the data.

    Returns:
      The token; None where samples run to their full length.

    Raises:
      FlagError: `--stop` is not one character.
    """
    if flags.stop is not None and len(flags.stop) != 1:
        raise FlagError(f"--stop={flags.stop!r}: {len(flags.stop)} characters; allowed: one character")
    return None if flags.stop is None else spec["vocabulary"].index(flags.stop)


def example(spec: dict) -> dict[str, np.ndarray]:
    """Make a batch of zeros in the shape of the run's streams.

    Args:
      spec: of the data.

    Returns:
      {"text": [B, L], "index": [B]}.
    """
    text = np.zeros(spec["streams"], np.uint8 if len(spec["vocabulary"]) <= 256 else np.int32)
    return {"text": text, "index": np.arange(len(text), dtype=np.int32)}


def panels(context: Any) -> list:
    """Show samples at each temperature, and the curves.

    Args:
      context: the ReportContext.

    Returns:
      Report panels.
    """
    from dlcore.report.curves import curves
    from dlcore.report.sequence import text_samples
    from dlcore.report.triage import triage_panels

    vocabulary, shown = Vocabulary(context.spec["vocabulary"]), context.data.shown.arrays
    outputs = zip(context.outputs["tokens"], context.outputs["length"], strict=True)
    note = (
        f"After the prompt in bold. The test text has {context.spec['characters']['test']:,} characters, "
        f"{len(vocabulary.characters)} different ones."
    )
    samples = text_samples(
        [vocabulary.decode(prompt) for prompt in shown["prompt"]],
        [vocabulary.decode(tokens[:length]) for tokens, length in outputs],
        shown["temperature"],
        note,
    )
    losses = [{k: v for k, v in row.items() if k != "accuracy"} for row in context.history]
    return [samples._replace(half=True), *triage_panels(losses, floor=None), curves(context.history)]
