"""What pages of video share: clips with labels, predictions, panels."""
