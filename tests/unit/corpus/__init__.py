"""The recorded hosts of tests/corpus, planned and carried out."""
