"""What pages of several topics share about the encoder in a learner's state."""
