"""What a model makes of a text, as numbers."""
