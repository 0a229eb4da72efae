"""A standalone Flink cluster on loopback, with Beam's job server and a pool of Python workers."""

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import psutil
import requests

# What Flink's own start scripts open to it in Java 17.
_OPENED = (
    "java.base/java.lang", "java.base/java.lang.invoke", "java.base/java.lang.reflect",
    "java.base/java.math", "java.base/java.net", "java.base/java.io", "java.base/java.nio",
    "java.base/java.text", "java.base/java.time", "java.base/java.util",
    "java.base/java.util.concurrent", "java.base/java.util.concurrent.atomic",
    "java.base/java.util.concurrent.locks", "java.base/sun.net.util", "java.base/sun.nio.ch",
)  # fmt: skip
_SLOTS = 2  # of a task manager: when one is lost, the other can do all


class ClusterError(RuntimeError):
    """A part of the cluster did not start, or ended."""


class Cluster:
    """A job manager, two task managers, a job server, and a pool of workers.

    Args:
      flink: folder of Flink's jars.
      server: folder of the job server's jars.
      folder: for logs, state, and what the workers are sent.
      environment: of the workers, which run this project's code.
    """

    def __init__(
        self,
        flink: pathlib.Path,
        server: pathlib.Path,
        folder: pathlib.Path,
        environment: dict[str, str],
    ):
        self._flink, self._server, self._folder = flink, server, folder
        self._environment = environment
        self._rest, self._rpc, self._jobs, self._pool = (_free() for _ in range(4))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def flags(self) -> list[str]:
        """What leads a run to it."""
        return [
            "--beam", "flink",
            f"--beam=--job_endpoint=127.0.0.1:{self._jobs}",
            f"--beam=--environment_config=127.0.0.1:{self._pool}",
            "--beam=--parallelism=2",
        ]  # fmt: skip

    def start(self) -> None:
        """Starts everything, and waits until it answers.

        Raises:
          ClusterError: it does not.
        """
        self._start("pool", [
            sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main",
            f"--service_port={self._pool}",
        ])  # fmt: skip
        self._java(
            "jobmanager", "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint",
            {
                "rest.port": self._rest,
                "jobmanager.memory.heap.size": "512m",
                "blob.server.port": 0,
            },
        )  # fmt: skip
        for number in (1, 2):
            self._java(
                f"taskmanager-{number}", "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
                {
                    "taskmanager.host": "127.0.0.1",
                    "taskmanager.resource-id": f"taskmanager-{number}",
                    "taskmanager.numberOfTaskSlots": _SLOTS,
                    "taskmanager.cpu.cores": 1.0,
                    "taskmanager.memory.task.heap.size": "1600m",
                    "taskmanager.memory.task.off-heap.size": "128m",
                    "taskmanager.memory.network.min": "1g",
                    "taskmanager.memory.network.max": "1g",
                    "taskmanager.network.sort-shuffle.min-buffers": 16,  # 512 for each, else
                    "taskmanager.memory.managed.size": "256m",
                    "taskmanager.memory.framework.heap.size": "128m",
                    "taskmanager.memory.framework.off-heap.size": "128m",
                    "taskmanager.memory.jvm-metaspace.size": "256m",
                    "taskmanager.memory.jvm-overhead.min": "64m",
                    "taskmanager.memory.jvm-overhead.max": "64m",
                },
            )  # fmt: skip
        self._wait("task managers", lambda: self._managers() == 2)
        self._start("jobserver", [
            "java", "-Xmx512m", "-cp", f"{self._server}/*",
            "org.apache.beam.runners.flink.FlinkJobServerDriver",
            f"--flink-master=127.0.0.1:{self._rest}", "--job-host=127.0.0.1",
            f"--job-port={self._jobs}", "--artifact-port=0", "--expansion-port=0",
            f"--artifacts-dir={self._folder / 'artifacts'}",
        ])  # fmt: skip
        self._wait("the job server", lambda: _listens(self._jobs))

    def _java(self, name: str, entry: str, told: dict[str, object]) -> None:
        configuration = self._folder / name
        configuration.mkdir(parents=True)
        common = {
            "jobmanager.rpc.address": "127.0.0.1", "jobmanager.rpc.port": self._rpc,
            "rest.address": "127.0.0.1", "rest.bind-address": "127.0.0.1",
            "restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": 3,
            "restart-strategy.fixed-delay.delay": "1 s",
            "io.tmp.dirs": configuration / "tmp", "parallelism.default": 2,
        }  # fmt: skip
        lines = [f"{key}: {value}" for key, value in {**common, **told}.items()]
        (configuration / "flink-conf.yaml").write_text("\n".join(lines) + "\n")
        (configuration / "log4j.properties").write_text(_LOG)
        opened = [f"--add-opens={package}=ALL-UNNAMED" for package in _OPENED]
        logging = f"-Dlog4j.configurationFile={configuration / 'log4j.properties'}"
        self._start(name, [
            "java", "-Xmx2g", "-XX:MaxDirectMemorySize=1600m", *opened, logging,
            "-cp", f"{self._flink}/*", entry, "--configDir", str(configuration),
        ])  # fmt: skip

    def _start(self, name: str, command: Sequence[str]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        environment = {**os.environ, **self._environment, "PATH": path}
        with open(self._folder / f"{name}.log", "wb") as log:
            self._processes[name] = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def _wait(self, what: str, there: object, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not there():  # type: ignore[operator]
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise ClusterError(f"{name} ended: {self._folder / name}.log says why")
            if time.monotonic() > end:
                raise ClusterError(f"no answer of {what}: {self._folder}/*.log say why")
            time.sleep(0.2)

    def _managers(self) -> int:
        with contextlib.suppress(requests.RequestException):
            told = requests.get(f"http://127.0.0.1:{self._rest}/taskmanagers", timeout=5).json()
            return len(told.get("taskmanagers", []))
        return 0

    def workers(self, manager: int) -> list[psutil.Process]:
        """The Python workers that a task manager had started."""
        process = psutil.Process(self._processes[f"taskmanager-{manager}"].pid)
        ports = {
            connection.laddr.port for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }  # fmt: skip
        pool = psutil.Process(self._processes["pool"].pid)
        found = []
        for child in pool.children():
            with contextlib.suppress(psutil.Error):
                control = re.search(r'SdkHarness\("[^"]*:(\d+)"', " ".join(child.cmdline()))
                if control and int(control[1]) in ports:
                    found.append(child)
        return found

    def kill(self, manager: int) -> int:
        """Kills a task manager and its workers; returns how many these were."""
        workers = self.workers(manager)
        self._processes.pop(f"taskmanager-{manager}").kill()
        for worker in workers:
            worker.kill()
        return len(workers)

    def stop(self) -> None:
        """Ends everything."""
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


_LOG = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = console
appender.console.name = console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %-5p %c{1} %m%n
"""


def _free() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as found:
        return found.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def running(cluster: Cluster) -> Iterator[Cluster]:
    """A cluster that is ended with the block."""
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
