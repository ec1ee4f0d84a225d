"""Pure: values and functions. No I/O, no clock, no environment, no global state."""
