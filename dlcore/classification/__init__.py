"""Image classification: learners that map an image to a class."""
