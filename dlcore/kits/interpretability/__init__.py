"""What pages of interpretability share: attribution maps by name, the optimization of pixels."""
