"""A real server process: it is asked by sockets, loses clients, and ends on Ctrl-C."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from saywhy.web.work import STOPPING
from tests.web.site import EXAMPLE

WORKERS, PLACES = 1, 2


class Server:
    """One that serves the aviary, with few places."""

    def __init__(self, *more: str) -> None:
        command = [sys.executable, "-m", "saywhy", "serve", "-m", "world:aviary", "--writer", "none", "--port", "0"]
        command += ["--workers", str(WORKERS), "--queue", str(PLACES), *more]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
        assert self.process.stderr is not None
        said = self.process.stderr.readline()
        found = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)/ \(stop with Ctrl-C\)\n", said)
        assert found, said + self.process.stderr.read()
        self.port = int(found.group(1))

    def ask(self, checks: str = "none", accept: str = "*/*") -> tuple[http.client.HTTPConnection, Any]:
        """The connection, and the answer that has begun."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": accept}
        connection.request("POST", "/api/explanations", f"example={EXAMPLE}&checks={checks}", headers)
        return connection, connection.getresponse()

    def stop(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """The exit code, and what it said after it was stopped."""
        self.process.send_signal(number)
        assert self.process.stderr is not None
        said = self.process.stderr.read()
        return self.process.wait(30), said


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    one = Server()
    yield one
    if one.process.poll() is None:
        one.process.kill()
    one.process.wait()
    if one.process.stderr is not None:
        one.process.stderr.close()


def drop(connection: http.client.HTTPConnection, answer: Any) -> None:
    """What becomes of a connection whose program is killed: it is reset."""
    answer.close()
    connection.close()


def test_clients_that_go_away_free_their_places(server: Server) -> None:
    asked = []
    while len(asked) < 20:
        asked.append(server.ask("full"))
        if asked[-1][1].status != 200:
            break
    *waiting, (_, refused) = asked
    assert refused.status == 503
    assert int(refused.getheader("Retry-After")) > 0
    assert len(waiting) >= WORKERS + PLACES
    for one in waiting:
        drop(*one)
    began = time.monotonic()
    while True:
        connection, answer = server.ask()
        if answer.status == 200:
            break
        assert time.monotonic() - began < 10
        drop(connection, answer)
    last = json.loads(answer.read().splitlines()[-1])
    assert last["state"] == "done"


def test_a_client_that_waits_for_one_answer_and_goes_frees_its_place(server: Server) -> None:
    sockets = []
    for _ in range(WORKERS + PLACES):
        one = socket.create_connection(("127.0.0.1", server.port))
        body = f"example={EXAMPLE}&checks=full"
        head = "POST /api/explanations HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
        kind = f"Content-Length: {len(body)}\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n"
        one.sendall(f"{head}{kind}{body}".encode())
        sockets.append(one)
    time.sleep(0.3)
    for one in sockets:
        one.close()
    began = time.monotonic()
    while True:
        connection, answer = server.ask()
        if answer.status == 200:
            break
        drop(connection, answer)
        assert time.monotonic() - began < 20
        time.sleep(0.05)
    assert json.loads(answer.read().splitlines()[-1])["state"] == "done"


def test_fifty_megabytes_of_unknown_length_are_refused(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def parts() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a.jpg"\r\n\r\n'
        for _ in range(50):
            yield bytes(1 << 20)
        yield b"\r\n--x--\r\n"

    with suppress(ConnectionError):  # the server need not read what it refuses
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        connection.request("POST", "/api/explanations", parts(), headers, encode_chunked=True)
    answer = connection.getresponse()
    assert answer.status == 413
    assert json.loads(answer.read()) == {"error": "the picture has more than 20 MiB; make it smaller first"}
    connection.close()


@pytest.mark.parametrize(
    "start", [b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 100_000, b"\r\n"]
)
def test_what_is_no_request_hurts_nobody(server: Server, start: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as one:
        one.sendall(start)
        one.settimeout(2)
        try:
            said = one.recv(4096)
        except OSError:
            said = b""
        assert b"Traceback" not in said
    connection, answer = server.ask(accept="application/json")
    assert json.loads(answer.read())["state"] == "done"
    connection.close()


def test_ctrl_c_ends_it_cleanly_while_somebody_waits(server: Server) -> None:
    connection, answer = server.ask("full")
    assert json.loads(answer.readline())["state"] == "queued"
    began = time.monotonic()
    half = socket.create_connection(("127.0.0.1", server.port))  # of a question whose picture never comes
    half.sendall(b"POST /api/explanations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
                 b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n")  # fmt: skip
    code, said = server.stop()
    assert (code, said) == (0, "stopped\n")
    assert time.monotonic() - began < 20
    last = json.loads(answer.read().splitlines()[-1])
    assert last == {"state": "failed", "error": STOPPING}
    connection.close()
    half.close()


def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "saywhy", "serve", "-m", "world:digits", "--port", str(port)]
        ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"saywhy: 127.0.0.1:{port} cannot be listened on (Address already in use)")
    assert ended.stderr.count("\n") == 1
