"""What verl loads: an agent loop that runs the same episodes as every other trainer.

    - name: innersearch
      _target_: innersearch.train.verl.agent_loop.SearchAgentLoop
      run: /shared/runs/ssrl

A file like this is `actor_rollout_ref.rollout.agent.agent_loop_config_path`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput

from innersearch.errors import ConfigError, InnersearchError
from innersearch.policy.loading import configured_context, configured_ends
from innersearch.train.verl.outputs import to_outputs
from innersearch.train.verl.server import ServerPolicy, ServerSampler
from innersearch.train.verl.worker import Worker, give_up
from innersearch.types import Trajectory

_workers: dict[str, Worker] = {}
"""The worker of each run directory in this process: verl makes an agent loop for every rollout."""


class SearchAgentLoop(AgentLoopBase):  # type: ignore[misc]
    """One rollout."""

    def __init__(self, *args: Any, run: str, started_in: str = ".", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.directory = Path(run)
        with self._word_left():
            if run not in _workers:
                _workers[run] = Worker.open(
                    self.directory,
                    self.tokenizer,
                    self._policy(),
                    self.rollout_config.response_length,
                    started_in=Path(started_in),
                )
        self.worker = _workers[run]

    async def run(
        self, sampling_params: dict[str, Any], **kwargs: Any
    ) -> AgentLoopOutput | list[AgentLoopOutput]:
        """Roll out the question of a row of the data; several segments become several outputs.

        Raises:
            DataError: The row is no question.
            RunError: Too many rollouts failed.
            SearchError: Too many searches failed.
        """
        with self._word_left():
            task = self.worker.task(kwargs)
            temperature = float(sampling_params["temperature"])
            trajectory, sampler = await self.worker.roll_out(task, temperature)
        outputs = _outputs(trajectory, sampler)
        return outputs[0] if len(outputs) == 1 else outputs

    @contextmanager
    def _word_left(self) -> Iterator[None]:
        """Errors that end the run are written down, for verl goes on without the rollouts they hit."""
        try:
            yield
        except InnersearchError as error:
            give_up(self.directory, error)
            raise

    def _policy(self) -> ServerPolicy:
        rollout = self.rollout_config
        if rollout.name != "vllm":
            raise ConfigError(
                f"actor_rollout_ref.rollout.name is {rollout.name!r}: stop strings are written for vllm"
            )
        model = self.config.actor_rollout_ref.model.path
        context = rollout.max_model_len or configured_context(model)
        ends = configured_ends(model, self.tokenizer)
        return ServerPolicy(self.server_manager, ends, int(context))


def _outputs(trajectory: Trajectory, sampler: ServerSampler) -> list[AgentLoopOutput]:
    metrics = AgentLoopMetrics(
        generate_sequences=sampler.seconds,
        tool_calls=sum(call.latency_s for call in trajectory.calls),
        num_preempted=sampler.preempted,
    )
    # Integers even where no server answered: verl makes an array of them (trainer_base.py 1897).
    versions = {
        "min_global_steps": min(sampler.versions, default=trajectory.step),
        "max_global_steps": max(sampler.versions, default=trajectory.step),
    }
    return [
        AgentLoopOutput(metrics=metrics.model_copy(), **columns)
        for columns in to_outputs(trajectory, versions)
    ]
