"""What pages of adversarial robustness share: early stopping by a drop, pictures of attacked images."""
