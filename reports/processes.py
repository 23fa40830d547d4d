"""Processes that execute the notebooks of pages."""

import asyncio
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner
from nbclient import NotebookClient

from reports import FOLDER


class Kernel:
    """A process of this Python that executes notebooks one after the other and opens no port.

    On Linux it is forked from this process, so that it has what was imported and computed here.

    Parameters
    ----------
    results : pathlib.Path
        Folder of the datasets that notebooks show.
    """

    def __init__(self, results: Path):
        self._loop = asyncio.new_event_loop()
        self._private = tempfile.TemporaryDirectory()
        connection = Path(self._private.name) / "kernel.json"
        self._manager = AsyncKernelManager(transport="ipc", connection_file=str(connection))
        # The kernel is this very Python, whatever kernels the user has installed.
        self._manager._kernel_spec = spec = KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            display_name="Python 3",
            language="python",
            env={FOLDER: str(results.resolve()), "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        if sys.platform == "linux":
            self._manager.provisioner = _Forking(kernel_spec=spec, parent=self._manager)
        self._channels: Any = None

    def execute(self, notebook: Any) -> None:
        """Execute a notebook in place, in a namespace that is empty before and after."""
        self._loop.run_until_complete(self._execute(notebook))

    async def _execute(self, notebook: Any) -> None:
        client = NotebookClient(
            notebook, timeout=300, kernel_name="", resources={}, km=self._manager
        )
        client.kc = self._channels
        try:
            await client.async_execute()
        finally:
            self._channels = client.kc
            if client.kc is not None:
                reset = client.kc.execute("get_ipython().reset(new_session=True)", silent=True)
                await client.async_wait_for_reply(reset)

    def close(self) -> None:
        """End the process."""
        if self._channels is not None:
            self._channels.stop_channels()
        if self._manager.has_kernel:
            self._loop.run_until_complete(self._manager.shutdown_kernel(now=True))
        self._loop.close()
        self._private.cleanup()


class _Forking(LocalProvisioner):
    """Forks a kernel from this process in place of starting a new Python."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        fork: Any = _Fork(cmd[3:], kwargs["env"])
        self.process, self.pid = fork, fork.pid
        return self.connection_info


class _Fork:
    """A forked kernel, with the methods of subprocess.Popen that Jupyter calls."""

    stdin = stdout = stderr = None
    pid: Any

    def __init__(self, arguments: list[str], environment: dict[str, str]):
        context, given = multiprocessing.get_context("fork"), (arguments, environment, os.getpid())
        self._process = context.Process(target=_serve, args=given, daemon=True)
        self._process.start()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


def _serve(arguments: list[str], environment: dict[str, str], parent: int) -> None:
    """Be a kernel, until its end is asked for or its parent has ended."""
    from ipykernel.kernelapp import IPKernelApp

    os.setsid()  # Ctrl-C in a terminal is for the driver
    os.environ.update(environment)
    if os.getppid() == parent:  # IPython would look for the end of another one
        IPKernelApp.launch_instance([*arguments, f"--IPKernelApp.parent_handle={parent}"])
