"""Tasks: what several techniques share, as records whose fields are flags; see `dlcore.experiment.task`."""
