"""Stage 1: from the bytes of a book to ids."""
