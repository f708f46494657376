"""Kernels that are forked from one process, which has imported what the chapters import: seconds a chapter saved.

    import kernels
    kernels.fork()  # nbclient's and nbval's kernels, from here on

Each chapter still has a process of its own, with nothing in its namespace, and runs every import that it names. Where
processes cannot be forked, kernels start as ever. `store_outputs.py` starts them as readers do: its times are theirs.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

from jupyter_client.provisioning import local_provisioner

# No module that reads a setting of a chapter when it is imported: what is set later would come too late.
IMPORTED = ["ipykernel.kernelapp", "torch", "pandas", "altair", "vl_convert", "transformers.modeling_utils"]
IMPORTED += ["__main__", "transformers.models.bert.modeling_bert", "ipywidgets", "kmod.book", "kmod.widgets"]
OURS = {str(Path(__file__).parent), str(Path(__file__).parents[2] / "tests")}  # folders that no chapter imports from
usual_launch = local_provisioner.launch_kernel


def fork() -> None:
    """From here on, kernels of this process are forked from one that has imported IMPORTED."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        multiprocessing.set_forkserver_preload(IMPORTED)
        local_provisioner.launch_kernel = launch


def launch(command: list[str], *, env: Mapping[str, str], cwd: str | None = None, **options) -> Kernel:
    """What jupyter_client calls to start a kernel. Other kernels than those of this Python start as ever."""
    if "ipykernel_launcher" not in command or command[0] != sys.executable:
        return usual_launch(command, env=env, cwd=cwd, **options)
    return Kernel(command[command.index("ipykernel_launcher") + 1 :], dict(env), str(cwd or os.getcwd()))


class Kernel:
    """A kernel in a forked process, with as much of `subprocess.Popen` as jupyter_client asks for."""

    stdin = stdout = stderr = None

    def __init__(self, arguments: list[str], env: dict[str, str], folder: str):
        context = multiprocessing.get_context("forkserver")
        ready, begun = context.Pipe(duplex=False)
        self.process = context.Process(target=serve, args=(arguments, env, folder, begun))
        self.process.start()
        begun.close()
        ready.recv()  # it leads a group of its own: a signal to the group must not reach the process that forks
        self.pid = self.process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self.process.join(timeout)
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def serve(arguments: list[str], env: dict[str, str], folder: str, begun: Connection) -> None:
    """Be a kernel: in the forked process."""
    os.setsid()
    os.environ.clear()
    os.environ.update(env, JPY_PARENT_PID=str(os.getppid()))  # which ends with the process that asked for the kernel
    os.chdir(folder)
    sys.path[:] = [path for path in sys.path if path not in OURS]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        os.dup2(nowhere, output)
    begun.send(os.getpid())
    begun.close()
    from ipykernel.kernelapp import launch_new_instance

    sys.argv = ["ipykernel_launcher", *arguments]
    launch_new_instance()
