"""What the experiments of a topic share, under its name; images, optimizer and backbone serve all of them."""
