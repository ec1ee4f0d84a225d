"""`./demo`: the main job on real QEMU, as a person would see it."""
