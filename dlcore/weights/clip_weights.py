"""Weights of a published CLIP or SigLIP for its two encoders."""

from typing import ClassVar

from dlcore.experiment.parts import Run
from dlcore.setting import Setting
from dlcore.weights.start import NETWORK, Start, start_network

__all__ = ["EncoderWeights"]

WORDS = ("token_embed", "text_positions")
"""Modules whose shapes depend on the data's vocabulary and on its longest caption."""


class EncoderWeights:
    """Weights of both encoders, published or of a run; the words of the data have embeddings of their own."""

    settings: ClassVar[dict[str, Setting]] = NETWORK

    def start(self, run: Run) -> Start | None:
        """Start from the weights of `--init_from`."""
        return start_network(run, WORDS)
