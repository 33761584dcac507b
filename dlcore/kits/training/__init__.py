"""What a run trains and starts from: the optimizer, the network of `--model`, earlier runs and trained weights."""
