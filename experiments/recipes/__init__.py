"""Published settings at full scale, as experiments: "recipe, not run" where we had no machine for them.

Each is an experiment of experiments.classification with another model and other defaults, so every flag of that experiment works.
Data sets are read into memory as 8-bit images, so the machine needs 200 GB for ImageNet at 224 pixels.
"""
