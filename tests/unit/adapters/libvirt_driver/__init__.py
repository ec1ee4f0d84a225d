"""Tests of the libvirt adapter that need no hypervisor."""
