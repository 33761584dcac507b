"""One file a family of published networks; see `dlcore.pretrained.family`."""
