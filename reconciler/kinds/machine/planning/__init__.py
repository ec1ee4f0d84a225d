"""From what differs to what is done: the effect table, decisions, steps. Pure."""
