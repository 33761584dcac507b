"""Images and language together: captions, questions, retrieval and translation."""
