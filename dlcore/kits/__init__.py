"""What at least two pages of a topic share, in a folder of its own; images and training serve all topics."""
