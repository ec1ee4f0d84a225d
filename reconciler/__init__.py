"""Manage a KVM host's virtual machines from YAML manifests."""

__version__ = "0.1.0"
