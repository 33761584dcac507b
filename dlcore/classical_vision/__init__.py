"""Computer vision before networks: features written by hand, and what is done with features of any kind."""
