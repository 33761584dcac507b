"""Self-supervised learning: representations from images without labels."""
