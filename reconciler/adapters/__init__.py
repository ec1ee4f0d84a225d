"""The edges: each foreign library or system has one room here and no other importer."""
