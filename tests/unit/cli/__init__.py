"""The command line with fake parts behind it."""
