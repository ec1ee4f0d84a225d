"""Measuring on this host: a file of its own, the programs that measure, what is below a folder."""
