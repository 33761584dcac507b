"""GPT-2 of 124 M parameters on a text of 16-bit tokens, such as OpenWebText, from scratch.

python -m experiments.recipes.gpt2_124m --data_dir=D             (recipe, not run: nanoGPT reports 2.85 nats)
python -m experiments.recipes.gpt2_124m --mode=plan --topology=v5e:4x4 --precision=bf16 --meshes=data:16 \\
    --rules=fsdp --model.remat=full     (fits: 10.0 GiB a chip, at least 154 ms a step; not without recomputation)
python -m experiments.recipes.gpt2_124m --smoke --data_dir=D     (a tiny network on the same files)

Radford et al. 2019. The settings are nanoGPT's: AdamW at 6e-4, with 2,000 steps of warm-up and a cosine over 600,000
steps, weight decay 0.1, gradients clipped at 1, batches of 480 windows of 1,024 tokens. D holds train.bin and
val.bin, as nanoGPT's `prepare.py` writes them from OpenWebText.
"""

import math
from functools import partial

from dlcore.data.openwebtext import TokenFiles
from dlcore.experiment import Experiment, Measure, Sanity, Steps
from dlcore.main import main
from dlcore.models import Network
from dlcore.models.gpt2 import GPT2
from dlcore.optim import AveragedAdamW
from dlcore.report.context import ReportContext
from dlcore.report.curves import curves
from dlcore.report.panel import Panel
from dlcore.sequence import language_model
from experiments.sequence import language_model as page

VOCABULARY = 50257


def panels(context: ReportContext) -> list[Panel]:
    """Show the curves."""
    return [curves(context.history)]


experiment = Experiment(
    __file__,
    __doc__,
    technique=language_model.learner,
    data=TokenFiles(window=1024, valid_fraction=0.001, num_tokens=VOCABULARY),
    network=Network(
        partial(GPT2, num_layers=12, num_heads=12, width=768, dropout=0.0),
        of_run=lambda run: {"vocab_size": VOCABULARY, "window": run.parts.data.window},
        prefix="model",
    ),
    optimizer=AveragedAdamW(
        learning_rate=6e-4,
        schedule="cosine",
        second_momentum=0.95,
        warmup=2000 / 600_000,
        weight_decay=0.1,
        clip_norm=1.0,
    ),
    length=Steps(600_000, batch_size=480, eval_batch_size=480, eval_every=1000),
    measures=[Measure("loss", mode="min")],
    report=[panels],
    sanity=Sanity(expected_loss=lambda run: math.log(VOCABULARY)),
    smoke={**page.experiment.smoke, "eval_batch_size": 8, "valid_fraction": 0.1},
)

if __name__ == "__main__":
    main(experiment)
