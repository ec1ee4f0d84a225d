"""Benchmarks: whole processes beside a floor measured in the same run. Asserts no time."""
