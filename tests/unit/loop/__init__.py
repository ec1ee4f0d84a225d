"""Tests of the control loop on fakes."""
