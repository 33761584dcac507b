"""What pages of images and language share: captioned data, questions, scores beside trivial baselines."""
