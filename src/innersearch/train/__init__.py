"""From trajectories to a better model: thin adapters, monitors, guard."""
