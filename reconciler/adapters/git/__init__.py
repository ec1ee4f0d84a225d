"""Manifests out of Git: from the commit of a work tree, or of a remote. `git` does the work."""
