"""Character models of Tiny Shakespeare: nanoGPT's setting for a CPU."""

import jax
import numpy as np
import optax

from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.data.text import Vocabulary, load_text, streams, windows
from dlcore.models.gpt2 import GPT2
from dlcore.run.evaluate import evaluate
from dlcore.run.fit import fit
from dlcore.sequence import language_model
from experiments.papers.table import Run, Table
from experiments.simple.method import data_dir

__all__ = ["TABLES"]

STEPS, BATCH, WINDOW = 2000, 12, 64


def _decayed(path: tuple, leaf: np.ndarray) -> bool:
    """nanoGPT decays all weights of two axes, those of embeddings too, and no biases or norms."""
    return leaf.ndim >= 2


def _nano_gpt(seed: int) -> float:
    text = load_text("shakespeare", data_dir())
    vocabulary = Vocabulary.of(text)
    tokens = vocabulary.encode(text)
    border = int(0.9 * len(tokens))
    rate = optax.warmup_cosine_decay_schedule(0.0, 1e-3, 100, STEPS, 1e-4)
    learner = language_model.learner(
        model=GPT2(len(vocabulary.characters), WINDOW, num_layers=4, num_heads=4, width=128, scan_blocks=True),
        optimizer=optax.chain(
            optax.clip_by_global_norm(1.0),
            optax.adamw(
                rate, b2=0.99, weight_decay=0.1, mask=lambda tree: jax.tree_util.tree_map_with_path(_decayed, tree)
            ),
        ),
    )
    rows = streams(tokens[:border], BATCH, "train")
    state = fit(learner, Pipeline(rows, BATCH, shuffle=False), steps=STEPS, seed=seed, progress=False).state
    held_out: Source = windows(tokens[border:], WINDOW)
    return float(evaluate(learner, state, held_out)["loss"])


TABLES = (
    Table(
        key="nanogpt-cpu",
        paper="Karpathy 2022, nanoGPT",
        place="README, Tiny Shakespeare on a CPU",
        source="karpathy/nanoGPT README.md@0110f3c",
        setting="4 blocks of 4 heads and width 128, windows of 64, batches of 12, 2,000 steps of AdamW at 1e-3 "
        "(warm-up 100, cosine to 1e-4, beta2 0.99, decay 0.1, clipping 1.0), no dropout, no biases. Loss of the last "
        "tenth of the text, by 20 batches.",
        metric="validation loss, nats a character",
        better="lower",
        margin=0.03,
        runs=(
            Run(
                "GPT, 4 layers",
                _nano_gpt,
                1.88,
                seeds=(0,),
                differs="the network has biases; the loss is that of the whole last tenth, not of 20 batches",
            ),
        ),
        differs="a step takes one window from each twelfth of the text, in place of twelve windows from anywhere. "
        "DATA_DIR is the folder of tinyshakespeare.txt.",
        verdict="Met: 0.02 above the README's number, which is of 20 batches.",
    ),
)
