"""Semi-supervised learning."""
