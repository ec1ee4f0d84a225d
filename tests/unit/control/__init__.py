"""The executor and what belongs to it."""
