"""A kind of object that the product does not know: a note is a file in a folder.

One folder, one row, one schema: what every kind needs, and nothing else.
"""
