"""Domain XML, and nothing of libvirt: read a machine, edit one in place, create one. Pure."""
