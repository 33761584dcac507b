"""What networks see: images made to please them, and maps of what they looked at."""
