"""How manifests reach the daemon: folders, Git, watching."""
