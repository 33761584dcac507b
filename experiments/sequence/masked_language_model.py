"""BERT: masked language modeling of characters.

python -m experiments.sequence.masked_language_model                                     (a few embedded pages: 44.6 %)
python -m experiments.sequence.masked_language_model --dataset=shakespeare --data_dir=D --steps=3000 \\
    --eval_every=500                                                                        (60.1 %; 11 min on one core)

The accuracy is that of the hidden characters, 15 % of a text. The report shows it beside those of the most frequent
character and of a table of what stood most often between the same two neighbors, which sees both of them unhidden:
14.9 % and 46.9 % on Shakespeare, 18.4 % and 45.7 % on the pages.

The window is short because the first thing to learn is to look at a hidden character's neighbors: attention starts out
spread over the window, and with 64 characters the accuracy of 600 steps was still 21 %.
"""

import dataclasses
import math
from typing import Annotated, Any

import numpy as np

from dlcore.data.source import Source
from dlcore.data.text import Vocabulary, load_text, split_text, training_windows
from dlcore.experiment import Experiment, Range, Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError
from dlcore.experiment.splits import Splits
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.models.bert import BERT
from dlcore.sequence import masked_language_model
from dlcore.tasks.texts import Texts
from experiments.smoke import few_steps

SHOWN = 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskedTexts(Texts):
    """A text in windows, whose characters are hidden at random.

    Args:
      window: characters of a text that the model reads at once
    """

    window: Annotated[int, Range(2), "essential"] = 16

    def data(self, flags: Flags) -> Splits:
        """Load a text; training rows are two windows long, one every window, and those of the other parts a window."""
        text, window = load_text(flags.dataset, flags.data_dir), flags.window
        vocabulary = Vocabulary.of(text)
        parts = split_text(vocabulary.encode(text), flags.valid_fraction, flags.test_fraction)
        shortest = min(map(len, parts))
        if window > shortest:
            raise FlagError(f"--window={window}: longer than a part of the text; allowed: at most {shortest}")
        names = [f"{flags.dataset} ({part})" for part in ("train", "validation", "test")]
        train = training_windows(parts[0], window, names[0])
        valid, test = (
            Source({"text": np.lib.stride_tricks.sliding_window_view(part, window)[::window]}, name=name)
            for part, name in zip(parts[1:], names[1:], strict=True)
        )
        baselines = masked_language_model.two_sided_table_accuracy(parts[0], parts[2], len(vocabulary.characters))
        batch = {"text": [[window], "int32"]}  # training crops its rows of two windows
        spec = {"dataset": flags.dataset, "vocabulary": vocabulary.characters, "baselines": baselines, "batch": batch}
        message = "test accuracy without a network: " + ", ".join(f"{name} {v:.3f}" for name, v in baselines.items())
        return Splits(
            train, valid, test, spec, (message,), shown=Source({"text": test.arrays["text"][:SHOWN]}, name="shown")
        )

    def arguments(self, setup: Setup) -> dict[str, Any]:
        flags, characters = setup.flags, len(setup.spec["vocabulary"])
        fields = {**flags.group("model"), "vocab_size": characters + 1, "window": flags.window, "head": "tokens"}
        return {"model": BERT(**fields, dtype=setup.dtype), "mask_token": characters}

    def expected_loss(self, setup: Setup) -> float:
        return math.log(len(setup.spec["vocabulary"]) + 1)

    def panels(self, context: Any) -> list:
        from dlcore.report.curves import curves
        from dlcore.report.sequence import filled_text
        from dlcore.report.tables import table
        from dlcore.report.triage import triage_panels

        spec, outputs = context.spec, context.outputs
        vocabulary, mask_token = Vocabulary(spec["vocabulary"]), len(spec["vocabulary"])
        rows = zip(context.data.shown.arrays["text"], outputs["shown"], outputs["filled"], strict=True)
        texts = [
            (vocabulary.decode(text), vocabulary.decode(filled), masked == mask_token) for text, masked, filled in rows
        ]
        accuracies = {"this model": context.numbers["accuracy"], **spec["baselines"]}
        losses = [{k: v for k, v in row.items() if k != "accuracy"} for row in context.history]
        return [
            filled_text(texts),
            table(
                [{"": name, "accuracy, %": round(100 * value, 1)} for name, value in accuracies.items()],
                "Accuracy on hidden characters of the test text",
            ),
            *triage_panels(losses, floor=None),
            curves(context.history),
        ]


experiment = Experiment(
    __file__,
    __doc__,
    masked_language_model.learner,
    task=MaskedTexts(),
    optimizer=AdamW(learning_rate=1e-3, warmup=0.05, clip_norm=1.0),
    modules={"model": BERT},
    external_fields=("model.head",),
    defaults={
        "model.num_layers": 2,
        "model.num_heads": 4,
        "model.width": 128,
        "model.mlp_features": 512,
        "model.dropout": 0.0,
        "steps": 800,
        "batch_size": 256,
        "eval_batch_size": 256,
        "eval_every": 100,
    },
    smoke={
        **few_steps(4),
        "model.num_layers": 1,
        "model.num_heads": 2,
        "model.width": 16,
        "model.mlp_features": 32,
        "window": 16,
    },
)

if __name__ == "__main__":
    main(experiment)
