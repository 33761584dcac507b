from dlcore.experiment.parts import Run

Setup = Run
