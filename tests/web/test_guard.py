"""Requests of other sites are refused, and, where there is a token, those without it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from saywhy.errors import SaywhyError
from saywhy.web.guard import COOKIE, HEADERS, Access
from saywhy.web.models import Model
from tests.web.site import EXAMPLE, LOCAL, client, lines

TOKEN = "correct-horse-battery"
ASKED = {"example": EXAMPLE, "checks": "none"}


@pytest.fixture
def guarded(model: Model) -> Iterator[TestClient]:
    with client(model, access=Access(token=TOKEN)) as one:
        yield one


@pytest.mark.parametrize("path", ["/api/options", "/openapi.json", "/", "/login", "/static/app.js", "/nothing"])
def test_every_answer_has_the_headers(asking: TestClient, path: str) -> None:
    answer = asking.get(path, follow_redirects=False)
    assert {name: answer.headers.get(name) for name in HEADERS} == dict(HEADERS)
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "http" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] in ("no-store", "no-cache")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8760", "127.0.0.1.evil.example", "localhost.evil.example", "", "[::1", "10.0.0.5",
     "127.0.0.1@evil.example", "saywhy"],
)  # fmt: skip
def test_a_name_that_was_pointed_here_is_refused(asking: TestClient, host: str) -> None:
    answer = asking.get("/api/options", headers={"Host": host})
    assert answer.status_code == 421
    assert list(answer.json()) == ["error"]


@pytest.mark.parametrize("host", ["127.0.0.1:8760", "localhost", "LOCALHOST:1", "[::1]:8760"])
def test_own_names_are_answered(asking: TestClient, host: str) -> None:
    assert asking.get("/api/options", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},  # another server on this machine
        {"Origin": "http://localhost:8760"},  # by another name than that which was asked
        {"Origin": "https://127.0.0.1:8760.evil.example"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_what_another_site_sends_is_refused(asking: TestClient, headers: dict[str, str]) -> None:
    for send in (lambda: asking.post("/api/explanations", data=ASKED, headers=headers),
                 lambda: asking.get("/api/options", headers=headers)):  # fmt: skip
        answer = send()
        assert answer.status_code == 403
        assert answer.json() == {"error": "requests of other sites are refused"}


def test_the_page_itself_and_programs_are_answered(asking: TestClient) -> None:
    own = {"Origin": LOCAL, "Sec-Fetch-Site": "same-origin"}
    assert lines(asking.post("/api/explanations", data=ASKED, headers=own).text)[-1]["state"] == "done"
    assert asking.post("/api/explanations", data=ASKED).status_code == 200


def test_a_link_of_another_site_opens_the_page_and_nothing_else(asking: TestClient) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert asking.get("/", headers=link).status_code in (200, 404)
    assert asking.get("/api/gallery/coffee.jpg", headers=link).status_code == 403


def test_without_the_token_nothing_is_answered(guarded: TestClient) -> None:
    for path in ("/api/options", "/openapi.json", f"/api/gallery/{EXAMPLE}.jpg"):
        answer = guarded.get(path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    assert guarded.post("/api/explanations", data=ASKED).status_code == 401
    assert guarded.get("/", follow_redirects=False).headers["location"] == "/login"


@pytest.mark.parametrize("given", ["Bearer wrong-horse-battery", "Bearer", f"Basic {TOKEN}", "Bearer é", f"{TOKEN}"])
def test_a_wrong_token_is_refused(guarded: TestClient, given: str) -> None:
    assert guarded.get("/api/options", headers={"Authorization": given.encode()}).status_code == 401


def test_programs_give_the_token_in_a_header(guarded: TestClient) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/api/options", headers=headers).json()["token_needed"]
    assert guarded.post("/api/explanations", data=ASKED, headers=headers).status_code == 200


def test_people_log_in_by_a_form(guarded: TestClient) -> None:
    assert 'name="token"' in guarded.get("/login").text
    wrong = guarded.post("/login", data={"token": "<script>"}, follow_redirects=False)
    assert wrong.status_code == 401
    assert "<script>" not in wrong.text
    assert COOKIE not in guarded.cookies
    right = guarded.post("/login", data={"token": TOKEN}, follow_redirects=False)
    assert (right.status_code, right.headers["location"]) == (303, "/")
    cookie = right.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert guarded.get("/api/options").status_code == 200


def test_a_link_with_the_token_logs_in_and_forgets_it(guarded: TestClient) -> None:
    wrong = guarded.get("/?token=wrong-horse-battery", follow_redirects=False)
    assert wrong.status_code == 401
    right = guarded.get(f"/?token={TOKEN}&a=b", follow_redirects=False)
    assert (right.status_code, right.headers["location"]) == (303, "/?a=b")
    assert guarded.get("/api/options").status_code == 200
    guarded.cookies.clear()
    assert guarded.get("/api/options", params={"token": TOKEN}).status_code == 401  # addresses are kept in logs


def test_the_cookie_of_another_server_is_worth_nothing(guarded: TestClient, model: Model) -> None:
    guarded.post("/login", data={"token": TOKEN})
    with client(model, access=Access(token=TOKEN)) as other:
        other.cookies.set(COOKIE, guarded.cookies[COOKIE])
        assert other.get("/api/options").status_code == 401
        other.cookies.set(COOKIE, "")
        assert other.get("/api/options").status_code == 401


def test_a_login_of_another_site_is_refused(guarded: TestClient) -> None:
    headers = {"Origin": "http://evil.example"}
    assert guarded.post("/login", data={"token": TOKEN}, headers=headers, follow_redirects=False).status_code == 403
    assert guarded.post("/login", content=b"token=" + bytes(10_000)).status_code == 413


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "saywhy.example", ""])
def test_an_address_that_others_reach_needs_a_token(host: str) -> None:
    with pytest.raises(SaywhyError, match="must know a --token"):
        Access(host)
    assert Access(host, TOKEN).token == TOKEN


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_an_address_of_this_machine_needs_none(host: str) -> None:
    assert Access(host).token is None


def test_a_token_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(SaywhyError, match="6 characters can be guessed"):
        Access(token="secret")


def test_who_listens_to_all_is_asked_by_address_or_a_given_name(model: Model) -> None:
    access = Access("0.0.0.0", TOKEN, ("birds.example",))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with client(model, access=access) as asking:
        for host, status in (("192.168.1.5:8760", 200), ("birds.example", 200), ("evil.example", 421)):
            assert asking.get("/api/options", headers={"Host": host} | headers).status_code == status
