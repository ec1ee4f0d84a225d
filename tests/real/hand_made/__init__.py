"""Machines as somebody may have made them by hand."""
