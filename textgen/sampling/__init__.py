"""Stage 3: from weights and a prompt to text. NumPy only."""
