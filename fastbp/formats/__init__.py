"""A model as a file: one module per format."""
