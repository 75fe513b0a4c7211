"""From a question to a trajectory."""
