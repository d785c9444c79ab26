"""What the steps ask of a cluster; a laptop's runner ignores it."""

from dataclasses import dataclass

from kfp import dsl, kubernetes


@dataclass(frozen=True)
class Volume:
    """The volume that holds the workspace; every step mounts it at the same place.

    Attributes:
        claim: Name of a PersistentVolumeClaim that may be mounted by several nodes
            (`ReadWriteMany`) in the namespace that the pipeline runs in.
        path: Where it is mounted. Workspaces and feeds lie below.
    """

    claim: str = "mmr-workspace"
    path: str = "/mnt/mmr"


@dataclass(frozen=True)
class Resources:
    """Limits of one kind of step.

    Attributes:
        cpu: CPU cores, as Kubernetes writes them.
        memory: Memory, as Kubernetes writes it.
        gpus: Accelerators (`nvidia.com/gpu`); 0 asks for none.
        retries: Times to try again; a step is safe to repeat, because its outputs appear whole.
        volume: The workspace's volume; None leaves it to the caller.
    """

    cpu: str
    memory: str
    gpus: int = 0
    retries: int = 2
    volume: Volume | None = None

    def apply(self, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """Sets the limits on a task and returns it."""
        task.set_cpu_limit(self.cpu).set_memory_limit(self.memory)
        task.set_retry(num_retries=self.retries, backoff_duration="30s", backoff_factor=2.0)
        if self.gpus:
            task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(self.gpus)
        if self.volume:
            kubernetes.mount_pvc(task, pvc_name=self.volume.claim, mount_path=self.volume.path)
        return task


LIGHT = Resources(cpu="2", memory="8G")
NETWORK = Resources(cpu="1", memory="4G")
