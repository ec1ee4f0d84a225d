"""Windows guests: the matrix of virtio-win drivers, and what is done by it."""
