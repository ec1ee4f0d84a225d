"""`VirtualMachine`: a libvirt domain with its disks."""
