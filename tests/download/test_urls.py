import pytest

from scanner.download.urls import checked_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://a.example/x.jpg", "http://a.example/x.jpg"),
        (" https://a.example/x.jpg\n", "https://a.example/x.jpg"),
        ("HTTPS://A.example:8443/x?y=1&z=%20#part", "https://a.example:8443/x?y=1&z=%20"),
        ("http://a.example/a b.jpg?q=ä ö", "http://a.example/a%20b.jpg?q=%C3%A4%20%C3%B6"),
        ("http://bücher.example/ü.jpg", "http://xn--bcher-kva.example/%C3%BC.jpg"),
        ("http://[2606:4700::1111]/x.jpg", "http://[2606:4700::1111]/x.jpg"),
        ("http://127.0.0.1/x.jpg", "http://127.0.0.1/x.jpg"),  # the proxy judges addresses
    ],
)
def test_urls_are_written_as_a_request_carries_them(text, url):
    assert checked_url(text) == (url, "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "no URL"),
        ("  ", "no URL"),
        ("file:///etc/passwd", "'file' is neither http nor https"),
        ("ftp://a.example/x.jpg", "'ftp' is neither"),
        ("data:image/png;base64,AAAA", "'data' is neither"),
        ("//a.example/x.jpg", "'' is neither"),
        ("a.example/x.jpg", "'' is neither"),
        ("http:///x.jpg", "without a host"),
        ("http://user:word@a.example/x.jpg", "a user or a password"),
        ("http://a.example/x\r\nHost: b.example", "control characters"),
        ("http://a.example\x00.b.example/", "control characters"),
        ("http://[::1/x.jpg", "no URL"),
        ("http://a.example:port/x", "no URL"),
        ("http://a.example/" + "x" * 9000, "more than 8,192 characters"),
        ("http://" + "ü" * 100 + ".example/", "is no name"),
    ],
)
def test_what_is_not_asked_for_says_why(text, reason):
    url, found = checked_url(text)
    assert url == ""
    assert reason in found
