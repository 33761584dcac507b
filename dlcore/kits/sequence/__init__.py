"""What pages of sequences share: files of tokens, encoders of texts, pairs of sequences."""
