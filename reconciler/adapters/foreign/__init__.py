"""Files and machines of other hypervisors."""
