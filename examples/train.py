"""Train the bundled model to search its memory: `python examples/train.py RUN [STEPS]`."""

import sys

from innersearch import read_trajectories, train_agent

output, steps = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 40
run = train_agent("ssrl-world", output, trainer={"steps": steps})
rewards = [trajectory.reward for trajectory in read_trajectories(run.path)]
print(f"{len(rewards)} trajectories; the model is in {run.model}")
