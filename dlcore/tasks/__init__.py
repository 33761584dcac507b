"""Parts that several pages share: data sets, networks, measures and uses; see `dlcore.experiment.part`."""
