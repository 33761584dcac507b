"""What pages of reinforcement learning share: environments as data, demonstrations, policies to compare with."""
