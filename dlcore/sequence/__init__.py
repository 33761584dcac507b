"""Sequence models: recurrent networks, and decoding from them."""
