"""What every node runs on at Vertex: one table."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Machine:
    """The resources of a node.

    Attributes:
      cpu: cores.
      memory: GiB.
      gpu: type of the accelerator, "" for none.
      gpus: how many.
      retries: of a task that failed.
    """

    cpu: int
    memory: int
    gpu: str = ""
    gpus: int = 0
    retries: int = 1

    def resources(self) -> dict[str, Any]:
        """As a PipelineContainerSpec says it."""
        told: dict[str, Any] = {"cpuLimit": float(self.cpu), "memoryLimit": float(self.memory)}
        if self.gpu:
            told["accelerator"] = {"type": self.gpu, "count": str(self.gpus)}
        return told


SMALL = Machine(cpu=2, memory=8)
# By the name of the node without its model or view.
MACHINES = {
    "DatasetImporter": Machine(cpu=8, memory=16),
    "PhotoCatalog": Machine(cpu=16, memory=32),
    "ImageExampleGen": Machine(cpu=16, memory=32),
    "StatisticsGen": Machine(cpu=8, memory=32),
    "Trainer": Machine(cpu=8, memory=32, gpu="NVIDIA_L4", gpus=1),
    "Evaluator": Machine(cpu=8, memory=32),
    "BreedBaselines": Machine(cpu=4, memory=16),
    "PairScores": Machine(cpu=8, memory=32),
    "RetrievalEvaluator": Machine(cpu=8, memory=32),
    "FilteredRetrieval": Machine(cpu=8, memory=32),
    "ModelGate": Machine(cpu=4, memory=16),
    "ReplayCheck": Machine(cpu=4, memory=16, retries=0),
    "Pusher": Machine(cpu=2, memory=8, retries=0),
}


def of(node: str) -> Machine:
    """The machine of a node."""
    return MACHINES.get(node.partition("_")[0], SMALL)
