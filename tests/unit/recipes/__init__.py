"""Tests of the recipes that people copy."""
