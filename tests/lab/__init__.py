"""Real parts for tests: a private libvirt host, and a guest small enough to boot in seconds."""
