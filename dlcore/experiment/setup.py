from dlcore.experiment.parts import Run as Setup
