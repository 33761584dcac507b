"""Features from before networks, and what is done with features of any kind."""
