"""Benchmarks: ratios measured in one run, each a study with flags, a smoke run and a report."""
