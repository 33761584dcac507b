"""From nearest neighbours to a tuned residual network on one data set, in six lessons to run, read and change."""
