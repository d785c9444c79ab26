"""What the steps ask of a cluster; a laptop's runner ignores it."""

from dataclasses import dataclass

from kfp import dsl


@dataclass(frozen=True)
class Resources:
    """Limits of one kind of step.

    Attributes:
        cpu: CPU cores, as Kubernetes writes them.
        memory: Memory, as Kubernetes writes it.
        gpus: Accelerators (`nvidia.com/gpu`); 0 asks for none.
        retries: Times to try again; a step is safe to repeat, because its outputs appear whole.
    """

    cpu: str
    memory: str
    gpus: int = 0
    retries: int = 2

    def apply(self, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """Sets the limits on a task and returns it."""
        task.set_cpu_limit(self.cpu).set_memory_limit(self.memory)
        task.set_retry(num_retries=self.retries, backoff_duration="30s", backoff_factor=2.0)
        if self.gpus:
            task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(self.gpus)
        return task
