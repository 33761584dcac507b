"""Where weights come from: open, read, check, fit, start. Arrays are read once, as a run was tested."""
