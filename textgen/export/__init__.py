"""Export a trained network to other programs."""
