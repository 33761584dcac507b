"""Reports: HTML pages, figures, curves, pictures and tables, one file a topic."""
