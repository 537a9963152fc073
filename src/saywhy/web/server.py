"""The server: it listens, says where, and ends cleanly on Ctrl-C and SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import webbrowser
from collections.abc import Callable, Mapping
from typing import final

import torch
import uvicorn

from saywhy.errors import SaywhyError
from saywhy.web.app import Site, create_app
from saywhy.web.audit import Explorer
from saywhy.web.forms import MAX_BYTES, MAX_PIXELS
from saywhy.web.guard import Access
from saywhy.web.models import Model
from saywhy.web.work import Queue

PATIENCE = 3  # seconds that answers under way have when the server ends
MOST_CONNECTIONS = 512


def run(
    models: Mapping[str, Model],
    access: Access,
    *,
    port: int,
    workers: int = 2,
    places: int = 64,
    max_bytes: int = MAX_BYTES,
    max_pixels: int = MAX_PIXELS,
    explorer: Explorer | None = None,
    open_page: bool = False,
    tell: Callable[[str], object] = print,
) -> None:
    """Serve until Ctrl-C or SIGTERM. port: 0: a free one.

    The threads of torch are shared out among the workers: two that each take all cores only hinder each other.

    Raises SaywhyError where the address cannot be listened on.
    """
    listening = _listening(access.host, port)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    queue = Queue(workers, places)
    site = Site(dict(models), queue, access, max_bytes, max_pixels, explorer=explorer)
    host = f"[{access.host}]" if ":" in access.host else access.host
    url = f"http://{host}:{listening.getsockname()[1]}/"
    config = uvicorn.Config(
        create_app(site), log_level="error", access_log=False, server_header=False, date_header=False,
        timeout_graceful_shutdown=PATIENCE, limit_concurrency=MOST_CONNECTIONS, lifespan="off", ws="none",
    )  # fmt: skip
    server = _Server(config, lambda: _told(url, tell, open_page), queue)
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        tell("stopped")
    finally:
        queue.close(0)
        listening.close()


@final
class _Server(uvicorn.Server):
    """Says so when it listens; when it ends, who waits for an answer is told."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], object], queue: Queue) -> None:
        super().__init__(config)
        self._ready, self._queue = ready, queue

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # who still sends a question is cut off
        await asyncio.to_thread(self._queue.close, PATIENCE)
        await super().shutdown(sockets)


def _told(url: str, tell: Callable[[str], object], open_page: bool) -> None:
    tell(f"listening on {url} (stop with Ctrl-C)")
    if open_page:
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        raise SaywhyError(
            f"{host}:{port} cannot be listened on ({error.strerror or error}); give another --port, or 0 for a free one"
        ) from None
    return listening
