"""What `bench` measures: values, what a tool's output means, and what the numbers say. Pure."""
