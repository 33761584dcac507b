"""Launchable experiments: one experiment a file, and the ledger of what they were measured to reach."""
