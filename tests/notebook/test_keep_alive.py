"""A Jupyter server that ends idle kernels, as those of Binder do, and a kernel whose steps run."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

from notebook.helpers_kernel import LONG, environment

pytestmark = pytest.mark.kernel

LOAD = """%load_ext stepup_nb
from stepup_nb.notebook import keep_alive
keep_alive.EACH = 0.1
%config StepUp.records = False"""


class Served:
    """A kernel of a server, and the front end that runs its cells."""

    def __init__(self, server: AsyncMappingKernelManager, name: str, client: Any) -> None:
        self.server = server
        self.name = name
        self.client = client

    async def run(self, *cells: str) -> None:
        for code in cells:
            reply = await self.client.execute_interactive(
                code, timeout=LONG, output_hook=lambda message: None
            )
            assert reply["content"]["status"] == "ok", reply["content"]

    @property
    def is_there(self) -> bool:
        return self.name in self.server

    @property
    def last_activity(self) -> Any:
        return self.server.get_kernel(self.name).last_activity

    async def until(self, is_it: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LONG
        while not is_it():
            assert time.monotonic() < deadline, "it did not come true"
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Served]:
    """Yield a kernel of a server that ends idle kernels, also those that are shown, but not soon."""
    server = AsyncMappingKernelManager(cull_idle_timeout=3600, cull_interval=1, cull_connected=True)
    variables = environment(STEPUP_NB_NOTEBOOK=str(folder / "nb.ipynb"), IPYTHONDIR=str(folder))
    name = await server.start_kernel(env=variables, cwd=str(folder))
    client = server.get_kernel(name).client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=LONG)
        yield Served(server, name, client)
    finally:
        client.stop_channels()
        await server.shutdown_all(now=True)


def test_a_kernel_whose_steps_run_is_active_although_it_shows_nothing(tmp_path: Path) -> None:
    async def look() -> None:
        async with served(tmp_path) as kernel:
            await kernel.run(LOAD, "%runsh sleep 600")
            # A page that is loaded again asks what kernel this is; what belongs to such a question does not count.
            await kernel.client.kernel_info(reply=True, timeout=LONG)
            for _ in range(3):
                before = kernel.last_activity
                await kernel.until(lambda: kernel.last_activity > before)  # noqa: B023

    asyncio.run(look())


@pytest.mark.parametrize(
    "cells",
    [
        pytest.param(("%runsh sleep 0.1", "%stepup wait"), id="no-step-runs"),
        pytest.param(("%pool none 0\n%runsh -p none true",), id="a-step-waits-for-a-slot"),
        pytest.param(
            ("%config StepUp.keep_alive = False", "%runsh sleep 600"), id="the-user-does-not-want-it"
        ),
    ],
)
def test_a_kernel_is_ended_as_idle_where(cells: tuple[str, ...], tmp_path: Path) -> None:
    async def look() -> None:
        async with served(tmp_path) as kernel:
            await kernel.run(LOAD + "\n" + "\n".join(cells))
            kernel.server.cull_idle_timeout = 1
            await kernel.until(lambda: not kernel.is_there)

    asyncio.run(look())
