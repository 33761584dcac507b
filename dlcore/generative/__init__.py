"""Models that draw new examples: generators, diffusion, and what they are built of."""
