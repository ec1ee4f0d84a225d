"""Manifests: reading, schema, meaning and the messages about them."""
