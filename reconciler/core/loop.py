"""What the daemon knows and decides, as values and pure functions. Talks to nobody."""
