"""Published settings at full scale, as experiments; marked "recipe, not run" where we had no machine for them.

Each is an experiment of experiments.classification with another model and other defaults, so all its flags work. The
embedded digits stand in for ImageNet under --smoke. Images that exceed --memory_limit stay on disk and are streamed.
"""
