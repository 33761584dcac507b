"""What goes on in a training run: gradients, curvature, learning curves, activations, and what is wrong with them."""
