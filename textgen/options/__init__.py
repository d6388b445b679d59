"""Every option of textgen: name, type, default, limits and help."""
