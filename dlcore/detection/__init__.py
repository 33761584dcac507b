"""Object detection: boxes, classes and scores from images."""
