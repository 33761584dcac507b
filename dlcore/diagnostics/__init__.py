"""What lets a person see how training went: measures written down, plots, and a report."""
