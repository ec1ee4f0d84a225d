"""The daemon's memory on disk. Nothing in it is needed to know what to do."""
