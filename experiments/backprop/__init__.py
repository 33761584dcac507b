"""Back-propagation by hand."""
