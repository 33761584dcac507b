"""The lessons, in the order of their numbers; each is a script that is a notebook too."""
