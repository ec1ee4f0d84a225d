"""One module per verb, each with `run(options, console, services) -> int`."""
