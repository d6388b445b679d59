"""Stage 3: generate text from weights and a prompt. NumPy only."""
