"""Images and clips beside language."""
