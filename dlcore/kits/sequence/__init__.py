"""What pages of sequences share: streams of text, pairs of sequences, samples in the report."""
