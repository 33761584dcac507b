"""One file a family of published networks; see `dlcore.models.pretrained.family`."""
