"""The verl adapter: our episodes as an agent loop, on a Ray cluster.

`outputs` turns trajectories into what verl trains on, `server` lets episodes sample from verl's vLLM
servers, `agent_loop` is what verl loads. `settings` writes verl's configuration and data for a recipe,
`cluster` says whether it fits the machines, `launch` starts it and looks after its records.
"""
