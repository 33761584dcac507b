"""Models that draw new examples."""
