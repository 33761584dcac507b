"""What pages of self-supervised learning share: data and views, encoders, the evaluation of features, pretexts."""
