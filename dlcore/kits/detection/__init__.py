"""What pages of detection share: data and augmentation, the learner, anchors' recall, pictures with boxes."""
