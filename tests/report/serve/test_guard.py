"""Who gets in, and what every answer carries."""

from __future__ import annotations

import http.client
import re
import socket
from contextlib import suppress
from itertools import pairwise

import pytest

PAGES = (
    "", "groups", "captions", "images", "alike", "outliers", "unusable", "shards", "extractions", "leaks", "settings",
    "group?id=0", "image?id=0", "alike?id=0",
)  # fmt: skip
KNOWN_TAGS = {
    "html", "head", "meta", "title", "link", "body", "header", "h1", "h2", "h3", "h4", "p", "nav", "ul", "li", "a", "main",
    "form", "label", "input", "select", "option", "button", "section", "div", "dl", "dt", "dd", "span", "b", "br", "bdi", "code",
    "table",
    "caption", "thead", "tbody", "tr", "th", "td", "details", "summary", "article", "figure", "figcaption", "img", "footer",
    "svg", "desc", "line", "polyline", "circle", "rect", "text",
}  # fmt: skip


def without_date(headers) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name != "date"}


@pytest.mark.parametrize(
    "path", ["/", "/groups", "/favicon.ico", "/style.css", "//", "/x/groups", "/../groups", "/%2e%2e/groups", "/" + "a" * 8000]
)
def test_without_the_token_nothing_is_told(client, path):
    answer = client.ask(path, root="")
    assert (answer.status, answer.body) == (404, b"")
    assert set(answer.headers) == {"date", "content-type", "content-length", "x-content-type-options", "connection"}


def test_half_a_token_a_longer_one_and_one_elsewhere_are_none(client):
    token = client.root.strip("/")
    assert len(token) >= 43
    refused = client.ask("/wrong/groups", root="")
    for root in (f"/{token[:-1]}/", f"/{token}x/", f"/{token.swapcase()}/", f"/x/{token}/", f"/?token={token}&", f"//{token}/"):
        answer = client.ask("groups", root=root)
        assert (answer.status, answer.body) == (404, b""), root
        assert without_date(answer.headers) == without_date(refused.headers), "every refusal is the same"
    carried = {"Cookie": f"token={token}", "Authorization": f"Bearer {token}", "X-Forwarded-For": "127.0.0.1"}
    assert client.ask("/groups", root="", headers=carried).status == 404


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1:1", "127.0.0.1", "localhost.evil.example:{port}", "", "0.0.0.0:{port}"],
)
def test_a_name_that_was_pointed_at_this_address_is_refused(client, host):
    answer = client.ask("groups", headers={"Host": host.format(port=client.port)})
    assert (answer.status, answer.body) == (404, b"")


def raw(client, head: str) -> bytes:
    """The first line of what comes back."""
    with socket.create_connection((client.host, client.port), timeout=30) as connection:
        connection.sendall(head.encode())
        return connection.makefile("rb").readline()


def test_odd_heads_are_refused(client):
    get = f"GET {client.root}groups HTTP/1.1\r\n"
    assert b" 404 " in raw(client, f"GET {client.root}groups HTTP/1.0\r\n\r\n"), "no host"
    for head in (
        f"{get}Host: 127.0.0.1:{client.port}\r\nHost: evil.example\r\n\r\n",
        "GET http://evil.example/ HTTP/1.1\r\n\r\n",
        "\x00\x01\x02\r\n\r\n",
    ):
        assert re.match(rb"HTTP/1.1 4\d\d ", raw(client, head)), head[:80]
    with suppress(OSError):  # it may close before all is sent
        assert b" 200 " not in raw(client, f"{get}Host: 127.0.0.1:{client.port}\r\nX: {'a' * 4_000_000}\r\n\r\n")
    assert b" 200 " in raw(client, f"{get}Host: 127.0.0.1:{client.port}\r\n\r\n")


def test_localhost_is_a_name_of_it_and_the_token_alone_leads_on(client):
    assert client.ask("groups", headers={"Host": f"localhost:{client.port}"}).status == 200
    answer = client.ask("", root=client.root.rstrip("/"))
    assert (answer.status, answer.headers["location"]) == (307, client.root)


def test_it_listens_on_the_loopback_address_alone(client):
    assert client.host == "127.0.0.1"
    for name in ("127.0.0.2", *{info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}):
        if name != "127.0.0.1":
            with pytest.raises(OSError):  # noqa: PT011
                socket.create_connection((name, client.port), timeout=5)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_pages_are_only_for_looking(client, method):
    assert client.ask("groups", method=method).status == 405


def test_a_form_of_another_site_is_refused(client):
    for site, status in (("cross-site", 404), ("same-site", 404), ("same-origin", 400), ("none", 400)):
        assert client.ask("alike", method="POST", headers={"Sec-Fetch-Site": site}).status == status


def test_what_is_asked_by_head_comes_without_its_body(client):
    connection = http.client.HTTPConnection(client.host, client.port, timeout=30)
    for _ in range(2):  # and on a connection that is kept
        connection.request("HEAD", client.root + "groups")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"")
    connection.close()


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_whole_and_strict(client, path):
    answer = client.ask(path)
    assert answer.status == 200
    for name, value in (
        ("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"), ("x-frame-options", "DENY"),
        ("cache-control", "no-store"), ("cross-origin-resource-policy", "same-origin"),
    ):  # fmt: skip
        assert answer.headers[name] == value
    assert not {"set-cookie", "server", "access-control-allow-origin"} & set(answer.headers)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; img-src 'self'; style-src 'self'; form-action 'self'; base-uri 'none'")
    assert "unsafe" not in policy
    page = answer.page
    assert set(page.tags) <= KNOWN_TAGS, "a tag that the page does not make came from the set"
    assert answer.html.endswith("</html>")
    assert client.root.strip("/") not in answer.html, "pages do not know the token"
    for _, attributes in page.attributes:
        assert "style" not in attributes, "the policy would refuse it"
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in ("src", "href", "action") or re.match(r"#|(\./|[a-z]+(\.css|\.svg)?)($|[?#])", value), value


@pytest.mark.parametrize("path", PAGES)
def test_every_page_can_be_read_by_a_machine_that_reads_aloud(client, path):
    page = client.ask(path).page
    assert all(image["alt"] for image in page.all("img"))
    levels = [int(tag[1]) for tag in page.tags if tag in ("h1", "h2", "h3", "h4")]
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(after <= before + 1 for before, after in pairwise(levels))
    found = [attributes["id"] for _, attributes in page.attributes if "id" in attributes]
    assert len(found) == len(set(found))
    fields = [field for field in page.all("input") if field.get("type") != "hidden"] + page.all("select")
    assert sorted(label["for"] for label in page.all("label")) == sorted(field["id"] for field in fields)
    assert page.all("html") == [{"lang": "en"}]


def test_every_link_of_every_page_leads_somewhere(client):
    seen: dict[str, int] = {}
    waiting = ["./"]
    while waiting and len(seen) < 300:
        path = waiting.pop()
        if path in seen:
            continue
        answer = client.ask(path.removeprefix("./"))
        seen[path] = answer.status
        if answer.headers["content-type"].startswith("text/html"):
            page = answer.page
            sources = [image["src"] for image in page.all("img")] + [link["href"] for link in page.all("link")]
            waiting += [link.split("#")[0] for link in [*page.links(), *sources] if link.split("#")[0]]
    assert set(seen.values()) == {200}, {path: status for path, status in seen.items() if status != 200}
    assert {"./", "groups", "captions", "images", "outliers", "unusable", "shards", "extractions", "leaks", "settings"} <= set(
        seen
    )
    assert len(seen) > 40
