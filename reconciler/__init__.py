"""Keep the virtual machines of a libvirt host as YAML manifests say."""

__version__ = "0.1.0"
