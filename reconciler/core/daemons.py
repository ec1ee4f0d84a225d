"""libvirt's daemons on one host: which there are, how they are found, and what is right.

Pure. Knows systemd's words for the state of a unit, and never asks for one.
"""
