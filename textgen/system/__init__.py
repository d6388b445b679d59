"""The machine and the process textgen runs in: cores, signals, the terminal."""
