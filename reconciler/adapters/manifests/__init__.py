"""Manifest files: read strictly, check wholly, report every problem at once."""
