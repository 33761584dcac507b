"""What pages of semi-supervised learning share: few labels, many unlabeled images, the supervised baseline."""
