"""The kind `Template`: what disks of machines are cloned from."""
