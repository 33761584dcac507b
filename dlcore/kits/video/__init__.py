"""What pages of video share: splits of clips."""
