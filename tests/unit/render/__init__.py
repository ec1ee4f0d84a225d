"""How plans and statuses are shown."""
