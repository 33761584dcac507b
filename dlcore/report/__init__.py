"""What a person sees: HTML, figures, curves, pictures, tables, a file a topic."""
