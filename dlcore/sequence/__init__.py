"""Sequence models: recurrent networks, and generation from them."""

from dlcore.lazy import lazy_exports

lazy_exports(
    globals(),
    {
        "CharRNN": "networks",
        "CharRNNState": "char_rnn",
        "chunk_at": "char_rnn",
        "generate": "decoding",
        "next_token_loss": "char_rnn",
        "sample_token": "decoding",
    },
)
