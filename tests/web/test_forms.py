"""Questions as strangers send them: odd pictures, odd names, too much, too slowly, and half of one."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from saywhy.web import forms
from saywhy.web.app import Site, create_app
from saywhy.web.forms import Room
from saywhy.web.models import Model
from saywhy.web.work import Queue
from tests.web.site import EXAMPLE, lines, png

ASKED = {"checks": "none"}


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))


def written(image: Image.Image, kind: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    return written(noise(), "JPEG", exif=exif)


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (written(noise(), "GIF", save_all=True, append_images=[noise().rotate(90)] * 50), [60, 40]),
        (written(noise().convert("CMYK"), "JPEG"), [60, 40]),
        (written(Image.fromarray(np.arange(2400, dtype=np.uint16).reshape(40, 60) * 27), "PNG"), [60, 40]),
        (turned(), [40, 60]),
        (written(noise(), "JPEG") + b"<script>alert(1)</script>", [60, 40]),
    ],
    ids=["animated", "CMYK", "16 bit", "turned", "with a script behind it"],
)
def test_odd_pictures_are_pictures(asking: TestClient, content: bytes, size: list[int]) -> None:
    answer = asking.post("/api/explanations", data=ASKED, files={"picture": ("a.jpg", content)})
    shown = lines(answer.text)[-1]["explanation"]["shown"]
    assert [shown["width"], shown["height"]] == size
    assert b"script" not in answer.content


@pytest.mark.parametrize(
    ("name", "called"),
    [
        (b"a\nb.jpg", "a\\nb.jpg"),
        (b"../../etc/passwd", "passwd"),
        (b"C:\\Users\\me\\cat.jpg", "cat.jpg"),
        (b"x" * 3000 + b".jpg", None),
        ("\u202egpj.exe".encode(), "\\u202egpj.exe"),
        (b"\xff\xfe.jpg", None),
    ],
)
def test_a_name_is_one_short_line_without_folders(asking: TestClient, name: bytes, called: str | None) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="picture"; filename="' + name + b'"\r\n\r\n'
    rest = b'\r\n--x\r\nContent-Disposition: form-data; name="checks"\r\n\r\nnone\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = asking.post("/api/explanations", content=head + png() + rest, headers=headers)
    shown = lines(answer.text)[-1]["explanation"]["shown"]
    assert "\n" not in shown["name"]
    assert len(shown["name"]) <= forms.LONGEST_NAME + 3  # the dots
    assert called in (None, shown["name"])


@pytest.mark.parametrize(
    ("fields", "files", "status", "said"),
    [
        ({"captions": ["a"] * 10_000}, None, 413, "a question without a file has more than 64 KiB"),
        ({"captions": ["a"] * 10_000}, {"picture": png()}, 400, "Too many fields"),
        ({"captions": ["a" * (1 << 20)]}, None, 413, "a question without a file has more than 64 KiB"),
        ({"captions": ["a" * (2 << 20)]}, {"picture": png()}, 400, "Part exceeded maximum size"),
        ({"picture": "a text"}, None, 422, "picture is no file"),
        ({"example": EXAMPLE}, {"other": b"x"}, 422, "the only file that is read is called picture"),
        ({"example": EXAMPLE}, {"picture": png()}, 422, "send one picture"),
        ({"audited": "3"}, None, 404, "no audit is served here"),
        ({"audited": "3" * 5000}, None, 422, "audited: "),
    ],
)
def test_too_much_or_too_little_is_said_in_one_line(
    asking: TestClient, fields: dict[str, Any], files: dict[str, bytes] | None, status: int, said: str
) -> None:
    answer = asking.post("/api/captions", data=fields, files=files)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert said in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert len(answer.json()["error"]) < 300


def test_a_field_without_a_text_is_left_out(asking: TestClient) -> None:
    empty = dict.fromkeys(("model", "vocabulary", "audited", "target", "against", "phrase", "captions"), "")
    answer = asking.post("/api/explanations", data={"example": EXAMPLE} | ASKED | empty)
    assert lines(answer.text)[-1]["state"] == "done"


HALF = b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a.jpg"\r\n\r\n' + bytes(1000)


def half_sent(model: Model, room: Room, then: dict[str, Any] | None) -> list[dict[str, Any]]:
    """What is answered to half a question after which this happens; None: nothing at all."""
    answered: list[dict[str, Any]] = []
    coming = iter([{"type": "http.request", "body": HALF, "more_body": True}])

    async def receive() -> dict[str, Any]:
        if (one := next(coming, then)) is None:
            await asyncio.sleep(30)
        return one or {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        answered.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"multipart/form-data; boundary=x")]
    scope = {
        "type": "http", "method": "POST", "path": "/api/explanations", "raw_path": b"/api/explanations",
        "query_string": b"", "headers": headers, "scheme": "http", "http_version": "1.1", "root_path": "",
    }  # fmt: skip
    queue = Queue(1, 2)
    try:
        asyncio.run(create_app(Site({model.name: model}, queue, room=room))(scope, receive, send))  # type: ignore[arg-type]
    finally:
        queue.close()
    return answered


def test_who_goes_away_while_sending_leaves_nothing_behind(model: Model) -> None:
    room = Room(10_000)
    half_sent(model, room, {"type": "http.disconnect"})
    assert room.left == 10_000


def test_who_sends_too_slowly_is_sent_away(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "SLOWEST", 0.1)
    room = Room(10_000)
    begin, *_ = half_sent(model, room, None)
    assert begin["status"] == 408
    assert room.left == 10_000
