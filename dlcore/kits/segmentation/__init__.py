"""What pages of segmentation share: data and augmentation, the learner, pictures under colors of classes."""
