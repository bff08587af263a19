"""The HTTP door lets in only whom it should, and makes a browser careful."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse

from itipd.web.guard import Access, Guard, host_name, is_loopback

LOCAL = Access(frozenset({"itipd.example.com"}), None)


def app_with(access: Access) -> FastAPI:
    """An application that tells what it was asked, behind the guard."""
    app = FastAPI()

    async def echo(request: Request) -> JSONResponse:
        return JSONResponse({"path": request.scope["path"], "method": request.method})

    async def fails(request: Request) -> JSONResponse:
        raise RuntimeError("the password is hunter2")

    app.add_route("/fails", fails)
    app.add_route("/{rest:path}", echo, methods=["GET", "POST"])
    app.add_middleware(Guard, access=access)
    return app


def client(access: Access, host: str = "http://localhost:8080") -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app_with(access)), base_url=host)


@pytest.fixture
async def local() -> AsyncIterator[httpx2.AsyncClient]:
    """Asks a door on loopback that also answers to itipd.example.com."""
    async with client(LOCAL) as made:
        yield made


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost", "localhost"),
        ("LocalHost:8080", "localhost"),
        ("[::1]:8080", "::1"),
        ("[::1]", "::1"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("example.com.:80", "example.com"),
        ("", ""),
    ],
)
def test_host_name(host: str, name: str) -> None:
    """The name in a Host header is found without its port, brackets and final dot."""
    assert host_name(host) == name


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_loopback_names(name: str) -> None:
    """Names that no foreign DNS can point at us are loopback."""
    assert is_loopback(name)


@pytest.mark.parametrize("name", ["localhost.evil.test", "10.0.0.1", "", "127.0.0.1.evil.test", "0.0.0.0"])
def test_foreign_names(name: str) -> None:
    """Everything else is not."""
    assert not is_loopback(name)


@pytest.mark.parametrize(
    "host", ["localhost:99", "127.0.0.1", "[::1]:8080", "itipd.example.com", "ITIPD.example.com:80"]
)
async def test_own_hosts_are_answered(local: httpx2.AsyncClient, host: str) -> None:
    """Loopback and configured names are answered, whatever the port."""
    assert (await local.get("/", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("host", ["evil.test", "itipd.example.com.evil.test", "192.168.0.1", ""])
async def test_rebound_hosts_are_refused(local: httpx2.AsyncClient, host: str) -> None:
    """A foreign name that was pointed at loopback gets 421 and nothing else (DNS rebinding)."""
    answer = await local.get("/", headers={"Host": host})
    assert answer.status_code == 421
    assert answer.json()["type"] == "urn:itipd:problem:wrong_host"


async def test_two_hosts_are_refused(local: httpx2.AsyncClient) -> None:
    """Two Host headers are a request that two readers would understand differently."""
    answer = await local.get("/", headers=[("Host", "localhost"), ("Host", "evil.test")])
    assert answer.status_code == 400


async def test_any_host_where_no_names_are_given() -> None:
    """A door that listens for everybody answers to every name."""
    async with client(Access(None, None), "http://mail.example.org") as asking:
        assert (await asking.get("/")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.test"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "http://localhost.evil.test:8080"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:8080"},
        {"Origin": "http://["},
    ],
)
async def test_cross_site_posts_are_refused(local: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    """A form or script of another site changes nothing here, neither by the API nor by the page."""
    for path in ("/v1/mail", "/proposals/1/accept"):
        answer = await local.post(path, headers=headers)
        assert answer.status_code == 403
        assert answer.json()["type"] == "urn:itipd:problem:cross_site"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://localhost:8080"},
        {"Origin": "http://LOCALHOST:8080", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_own_posts_are_let_in(local: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    """The page's own forms pass."""
    assert (await local.post("/proposals/1/accept", headers=headers)).status_code == 200


async def test_default_ports_are_the_same_origin() -> None:
    """Behind a proxy with TLS, `https://name` is the same as Host `name`."""
    async with client(Access(None, None), "http://itipd.example.com") as asking:
        for origin in ("https://itipd.example.com", "https://itipd.example.com:443"):
            assert (await asking.post("/proposals/1/accept", headers={"Origin": origin})).status_code == 200


async def test_programs_post_to_the_api_only(local: httpx2.AsyncClient) -> None:
    """Without Origin it is no browser: fine for the API, refused for the page's forms, where Basic would come along."""
    assert (await local.post("/v1/mail")).status_code == 200
    assert (await local.post("/proposals/1/accept")).status_code == 403


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("path", "shown", "status"),
    [
        ("/v1/meetings", None, 401),
        ("/v1/meetings", "Bearer s3cret-ü", 200),
        ("/v1/meetings", "bearer s3cret-ü", 200),
        ("/v1/meetings", "Bearer s3cret", 401),
        ("/v1/meetings", "Bearer", 401),
        ("/v1/meetings", basic("s3cret-ü"), 401),  # a browser would send it along for any site
        ("/", None, 401),
        ("/", basic("s3cret-ü"), 200),
        ("/", basic("wrong"), 401),
        ("/", "Basic !!!", 401),
        ("/", "Bearer s3cret-ü", 200),
        ("/mail/1/raw", None, 401),
        ("/fragments/meetings", None, 401),
        ("/livez", None, 200),
        ("/readyz", None, 200),
        ("/openapi.json", None, 200),
        ("/static/page.css", None, 200),
    ],
)
async def test_token(path: str, shown: str | None, status: int) -> None:
    """With a token, the API wants it as Bearer, the page as Basic password; only what tells nothing stays open."""
    headers = [(b"Authorization", shown.encode())] if shown else []
    async with client(Access(None, "s3cret-ü")) as asking:
        answer = await asking.get(path, headers=headers)
    assert answer.status_code == status
    if status == 401:
        scheme = "Bearer" if path.startswith("/v1/") else "Basic"
        assert answer.headers["WWW-Authenticate"].startswith(scheme)


async def test_every_answer_is_careful(local: httpx2.AsyncClient) -> None:
    """Good answers, refusals and our own failures carry the policy that lets nothing but our own files run."""
    answers = [
        await local.get("/"),
        await local.get("/", headers={"Host": "evil.test"}),
        await local.get("/fails"),
    ]
    assert [answer.status_code for answer in answers] == [200, 421, 500]
    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"


async def test_our_failure_tells_nothing(local: httpx2.AsyncClient) -> None:
    """An exception's text stays in the log: the client gets a problem of fixed words."""
    answer = await local.get("/fails")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:itipd:problem:internal"
    assert "hunter2" not in answer.text


async def test_the_path_is_as_it_was_sent(local: httpx2.AsyncClient) -> None:
    """A percent-encoded slash is no separator: routing sees the path undecoded."""
    assert (await local.get("/v1/meetings/a%2Fb%25")).json()["path"] == "/v1/meetings/a%2Fb%25"


async def test_head_is_get_without_the_body(local: httpx2.AsyncClient) -> None:
    """HEAD has the headers of GET and no body (RFC 9110 §9.3.2)."""
    head, get = await local.head("/x"), await local.get("/x")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == get.headers["Content-Length"]
