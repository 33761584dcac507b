"""GPT-2 of 124 M parameters on a text of 16-bit tokens, such as OpenWebText, from scratch.

python -m experiments.recipes.gpt2_124m --data_dir=D             (recipe, not run: nanoGPT reports 2.85 nats)
python -m experiments.recipes.gpt2_124m --mode=plan --topology=v5e:4x4 --precision=bf16 --meshes=data:16 \\
    --rules=fsdp --model.remat=full     (fits: 10.0 GiB a chip, at least 154 ms a step; not without recomputation)
python -m experiments.recipes.gpt2_124m --smoke --data_dir=D     (a tiny network on the same files)

Radford et al. 2019. The settings are nanoGPT's: AdamW at 6e-4, with 2,000 steps of warm-up and a cosine over 600,000
steps, weight decay 0.1, gradients clipped at 1, batches of 480 windows of 1,024 tokens. D holds train.bin and
val.bin, as nanoGPT's `prepare.py` writes them from OpenWebText.
"""

import dataclasses
import math
from typing import Any

from dlcore.experiment import Flags, Setup, Splits
from dlcore.experiment.setting import Setting
from dlcore.kits.sequence import token_files
from dlcore.main import main
from dlcore.models.gpt2 import GPT2
from dlcore.modes.report_context import ReportContext
from dlcore.report.curves import curves
from dlcore.tasks.texts import TextWindows
from experiments.sequence import language_model as page

VOCABULARY = 50257


def network(setup: Setup) -> GPT2:
    flags = setup.flags
    return GPT2(VOCABULARY, flags.window, **flags.group("model"), dtype=setup.dtype)


@dataclasses.dataclass(frozen=True)
class TokenWindows(TextWindows):
    """Windows of the files of GPT-2's tokens; nothing is generated."""

    inputs = None
    describe = None

    def settings(self) -> dict[str, Setting]:
        """Collect the flags of texts, without those of samples."""
        unused = ("dataset", "test_fraction", "prompt", "temperatures", "num_samples", "stop")
        return {name: setting for name, setting in super().settings().items() if name not in unused}

    def data(self, flags: Flags) -> Splits:
        """Map the files of tokens into memory."""
        return token_files.data(flags, num_tokens=VOCABULARY)

    def planned(self, flags: Flags) -> tuple[dict, Any]:
        """Return the spec and the shapes of one batch."""
        return token_files.planned(flags)

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the model."""
        return {"model": self.network(setup)}

    def expected_loss(self, setup: Setup) -> float:
        """Compute the loss of equal probabilities, the logarithm of the number of tokens."""
        return math.log(VOCABULARY)

    def panels(self, context: ReportContext) -> list:
        """Show the curves."""
        return [curves(context.history)]


experiment = dataclasses.replace(
    page.experiment,
    file=__file__,
    doc=__doc__,
    task=TokenWindows(network=network),
    settings=token_files.SETTINGS,
    defaults={
        "model.num_layers": 12,
        "model.num_heads": 12,
        "model.width": 768,
        "window": 1024,
        "valid_fraction": 0.001,
        "batch_size": 480,
        "eval_batch_size": 480,
        "learning_rate": 6e-4,
        "second_momentum": 0.95,
        "warmup": 2000 / 600_000,
        "weight_decay": 0.1,
        "clip_norm": 1.0,
        "steps": 600_000,
        "eval_every": 1000,
    },
    smoke={**page.experiment.merged.smoke, "eval_batch_size": 8, "valid_fraction": 0.1},
)

if __name__ == "__main__":
    main(experiment)
