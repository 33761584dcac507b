"""Functions and parts that several pages share, a folder for each topic; images and training serve all topics."""
