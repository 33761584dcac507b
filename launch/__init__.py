"""Starters for clusters and for several processes of one machine; see README.md."""
