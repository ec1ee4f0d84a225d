"""A plan as text for people or JSON for programs. Pure: no terminal, no file, no environment."""
