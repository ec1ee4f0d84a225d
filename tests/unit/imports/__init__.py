"""Tests of imports from other hypervisors."""
