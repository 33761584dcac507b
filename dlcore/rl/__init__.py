"""Reinforcement learning: the environment runs inside the jitted step."""
