"""`Host`: libvirt's daemons on one host."""
