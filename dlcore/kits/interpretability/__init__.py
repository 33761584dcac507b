"""What pages of interpretability share: attribution maps by name."""
