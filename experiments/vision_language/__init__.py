"""Images and language."""
