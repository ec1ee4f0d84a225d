"""libvirt: domains, storage and networks of one host, behind the ports of `control`."""
