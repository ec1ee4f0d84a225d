"""One pass over the objects: observe, plan, execute, verify. Knows ports, never adapters."""
