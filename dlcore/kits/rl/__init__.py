"""What pages of reinforcement learning share: policies to compare with."""
