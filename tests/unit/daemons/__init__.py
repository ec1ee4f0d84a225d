"""Tests of the daemons of libvirt on a host, without a host."""
