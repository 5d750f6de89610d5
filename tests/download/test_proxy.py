"""The proxy as a process, asked by urllib as img2dataset asks it."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from download.web import picture, web

from scanner.core.download_config import DownloadConfig
from scanner.download.proxy_process import fenced, proxy


@pytest.fixture(scope="module")
def server():
    with web() as running:
        yield running


@pytest.fixture(scope="module")
def through(server):
    config = DownloadConfig(allow_addresses=(server.address,), timeout_s=1, total_timeout_s=3, max_image_mb=1)
    with proxy(config) as url:
        yield url


def opener(url):
    return urllib.request.build_opener(urllib.request.ProxyHandler(dict.fromkeys(("http", "https", "ftp"), url)))


def fetch(proxy_url, url, timeout=20):
    with opener(proxy_url).open(url, timeout=timeout) as answer:
        return answer.read()


def error_of(proxy_url, url, timeout=20):
    """What img2dataset writes into the row: the error as text."""
    with pytest.raises(Exception, match=r".") as caught:
        fetch(proxy_url, url, timeout)
    return str(caught.value)


@contextmanager
def listener():
    """Something of this machine that must not be reached; counts who connects."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        connections = []

        def accept():
            while True:
                try:
                    connection, address = listening.accept()
                except OSError:
                    return
                connections.append(address)
                connection.close()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}", connections


def test_what_is_allowed_comes_through(server, through):
    assert fetch(through, f"{server.url}/ok/7") == picture(7)
    assert server.hosts == {server.address}


def test_the_status_of_the_server_comes_through(server, through):
    assert error_of(through, f"{server.url}/missing/1") == "HTTP Error 404: Not Found"


def test_an_address_that_is_not_public_is_not_connected_to(server, through):
    with listener() as (address, connections):
        assert "403: refused: 127.0.0.1 is loopback" in error_of(through, f"http://{address}/secret")
        assert "403: refused: 127.0.0.1 is loopback" in error_of(through, f"{server.url}/to?url=http://{address}/secret")
        # A redirect to another scheme, and TLS: a tunnel is asked for.
        assert "403 refused: 127.0.0.1 is loopback" in error_of(through, f"https://{address}/secret")
        assert "refused: the scheme 'ftp'" in error_of(through, f"{server.url}/to?url=ftp://{address}/secret")
        assert "refused: 127.0.0.1 is loopback" in error_of(through, f"http://localhost:{address.split(':')[1]}/")
        assert not connections


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "10.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433", "0x7f.1"]
)
def test_every_way_to_write_such_an_address_is_refused(through, host):
    assert "refused: " in error_of(through, f"http://{host}/")


def test_a_port_beside_the_allowed_one_is_refused(server, through):
    other = int(server.address.split(":")[1]) ^ 1
    assert "refused: 127.0.0.1 is loopback" in error_of(through, f"http://127.0.0.1:{other}/")


def test_a_file_that_says_that_it_is_too_large_is_refused_and_one_that_does_not_is_cut(server, through):
    assert "413: larger than 1,048,576 bytes: 2,000,000" in error_of(through, f"{server.url}/big/2000000")
    assert fetch(through, f"{server.url}/big/1000000") == bytes(1_000_000)
    with pytest.raises(ConnectionResetError):
        fetch(through, f"{server.url}/unsized/2000000")


def test_silence_and_drops_come_to_an_end(server, through):
    assert "504: no answer for 1 s: timed out" in error_of(through, f"{server.url}/slow/1")
    with pytest.raises(Exception, match=r"(?i)reset|IncompleteRead"):
        fetch(through, f"{server.url}/drip/1")


def test_a_name_that_nobody_has_is_said(through):
    assert "no such host" in error_of(through, "http://no-such-host.invalid/x.jpg")


def test_a_server_that_is_not_there_is_said(server):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with proxy(DownloadConfig(allow_addresses=(address,), timeout_s=1)) as through:
            assert "504: connecting to 127.0.0.1 failed: " in error_of(through, f"http://{address}/")


def test_nobody_else_is_served(server, through):
    _, _, place = through.rpartition("@")
    assert "407" in error_of(f"http://{place}", f"{server.url}/ok/1")
    assert "407" in error_of(f"http://scanner:guess@{place}", f"{server.url}/ok/1")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST http://a.example/ HTTP/1.1\r\n{auth}\r\n\r\n", b"405"),
        (b"GET ftp://a.example/ HTTP/1.1\r\n{auth}\r\n\r\n", b"403"),
        (b"GET /etc/passwd HTTP/1.1\r\n{auth}\r\n\r\n", b"403"),
        (b"CONNECT nowhere HTTP/1.1\r\n{auth}\r\n\r\n", b"400"),
        (b"hello\r\n\r\n", b"400"),
        (b"GET http://a.example/ HTTP/1.1\r\n{auth}\r\nbad header\r\n\r\n", b"400"),
        (b"GET http://a.example/ HTTP/1.1\r\n" + b"x: " + b"y" * 70_000 + b"\r\n\r\n", b"431"),
    ],
)
def test_requests_that_are_none_are_answered(through, request_, status):
    import base64

    credentials, _, place = through.removeprefix("http://").rpartition("@")
    auth = b"Proxy-Authorization: Basic " + base64.b64encode(credentials.encode())
    with socket.create_connection(("127.0.0.1", int(place.rpartition(":")[2])), timeout=5) as connection:
        connection.sendall(request_.replace(b"{auth}", auth))
        assert connection.recv(64).startswith(b"HTTP/1.1 " + status)


def test_the_environment_leaves_no_way_around(monkeypatch):
    before = {"HTTP_PROXY": "http://elsewhere:3128", "no_proxy": "*", "PATH": "/bin", "all_proxy": "socks://x"}
    found = fenced(before, "http://proxy:1", max_pixels=1000)
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    assert urllib.request.getproxies()["http"] == "http://proxy:1"
    assert urllib.request.getproxies()["https"] == urllib.request.getproxies()["ftp"] == "http://proxy:1"
    assert not urllib.request.proxy_bypass("127.0.0.1")
    assert not urllib.request.proxy_bypass("localhost")
    assert found["PATH"] == "/bin"
    assert found["OPENCV_IO_MAX_IMAGE_PIXELS"] == "1000"
