"""What experiments over text share: data by name, cut into streams, and samples in the report."""

from html import escape
from typing import Any

import numpy as np

from dlcore.data.source import Source
from dlcore.data.text import TEXTS, Vocabulary, load_text, split_text, streams
from dlcore.experiment.flags import FlagError, Flags, Setting
from dlcore.experiment.splits import Splits
from dlcore.learner import Range

__all__ = ["SETTINGS", "data", "example", "panels", "stop_token"]

SETTINGS = {
    "dataset": Setting("pages", f"a text: {', '.join(TEXTS)}"),
    "data_dir": Setting(None, "shakespeare: the folder of tinyshakespeare.txt; file: the text file", str | None),
    "valid_fraction": Setting(
        0.1, "share of the text held out, twice: for validation and for test", limits=Range(0.001, 0.4)
    ),
    "eval_streams": Setting(16, "pieces that validation and test are read in, each from a zero carry", limits=Range(1)),
    "prompt": Setting("The ", "what samples go on from"),
    "temperatures": Setting((0.0, 0.5, 1.0), "of the samples in the report; 0 is greedy", limits=Range(0)),
    "samples": Setting(2, "samples at each temperature; greedy there is but one", limits=Range(1)),
    "stop": Setting(None, "a character that ends a sample", str | None),
}


def data(flags: Flags) -> Splits:
    """Training text in `--batch_size` streams; validation and test, each whole; prompts to write on from.

    Raises:
      ValueError, FileNotFoundError: as `dlcore.data.text.load_text` and `streams`.
      FlagError: the prompt is empty, or holds characters that the text does not.
    """
    text = load_text(flags.dataset, flags.data_dir)
    vocabulary = Vocabulary.of(text)
    train, valid, test = split_text(vocabulary.encode(text), flags.valid_fraction)
    source = streams(train, flags.batch_size, f"{flags.dataset} (train)")
    unknown = sorted(set(flags.prompt + (flags.stop or "")) - set(vocabulary.characters))
    if unknown or not flags.prompt:
        raise FlagError(
            f"--prompt={flags.prompt!r} and --stop={flags.stop!r} must be of characters of the text"
            + (f", without {unknown[0]!r}" if unknown else ", and the prompt not empty")
        )
    temperatures = np.concatenate([np.full(flags.samples if t > 0 else 1, t, np.float32) for t in flags.temperatures])
    prompts = np.tile(vocabulary.encode(flags.prompt), (len(temperatures), 1))
    return Splits(
        source,
        streams(valid, flags.eval_streams, f"{flags.dataset} (validation)", whole=True),
        streams(test, flags.eval_streams, f"{flags.dataset} (test)", whole=True),
        {
            "dataset": flags.dataset,
            "vocabulary": vocabulary.characters,
            "streams": list(source.arrays["text"].shape),
            "characters": {"train": len(train), "valid": len(valid), "test": len(test)},
        },
        shown=Source({"prompt": prompts, "temperature": temperatures}, name="prompts"),
    )


def stop_token(flags: Flags, spec: dict) -> int | None:
    """The token of `--stop`.

    Raises:
      FlagError: it is more than one character.
    """
    if flags.stop is not None and len(flags.stop) != 1:
        raise FlagError(f"--stop={flags.stop!r} must be one character")
    return None if flags.stop is None else spec["vocabulary"].index(flags.stop)


def example(spec: dict) -> dict[str, np.ndarray]:
    """Streams of zeros, in the shape of the run's."""
    text = np.zeros(spec["streams"], np.uint8 if len(spec["vocabulary"]) <= 256 else np.int32)
    return {"text": text, "index": np.arange(len(text), dtype=np.int32)}


def panels(context: Any) -> list:
    """What the model writes at each temperature, and the curves."""
    from dlcore.report.curves import curves
    from dlcore.report.html import Panel

    vocabulary = Vocabulary(context.spec["vocabulary"])
    prompts = context.data.shown.arrays
    parts = []
    for row, temperature in enumerate(prompts["temperature"]):
        written = vocabulary.decode(context.outputs["tokens"][row][: context.outputs["length"][row]])
        name = "greedy (temperature 0)" if temperature == 0 else f"temperature {temperature:g}"
        parts.append(
            f'<figure><figcaption>{name}</figcaption><pre style="white-space:pre-wrap;margin:.3em 0 1.2em">'
            f"<b>{escape(vocabulary.decode(prompts['prompt'][row]))}</b>{escape(written)}</pre></figure>"
        )
    count = context.spec["characters"]["test"]
    note = f"After the prompt in bold. Test text: {count:,} characters, {len(vocabulary.characters)} different ones."
    return [Panel("What it writes", "".join(parts), note), curves(context.history)]
