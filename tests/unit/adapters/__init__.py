"""The adapters, each on its own."""
