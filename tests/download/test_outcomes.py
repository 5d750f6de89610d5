import pytest

from scanner.download.outcomes import LOST, is_transient

D = "failed_to_download"


@pytest.mark.parametrize(
    "message",
    [
        "The read operation timed out",
        "<urlopen error timed out>",
        "HTTP Error 503: Service Unavailable",
        "HTTP Error 500: Internal Server Error",
        "HTTP Error 429: Too Many Requests",
        "HTTP Error 504: no answer for 10 s: timed out",
        "HTTP Error 504: connecting to a.example failed: Connection refused",
        "HTTP Error 502: the server closed without an answer",
        "<urlopen error Tunnel connection failed: 504 connecting to a.example timed out>",
        "<urlopen error [Errno 104] Connection reset by peer>",
        "Remote end closed connection without response",
        "IncompleteRead(10 bytes read, 90 more expected)",
        "<urlopen error [SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol (_ssl.c:1006)>",
        "HTTP Error 503: temporary failure in name resolution of a.example",
        LOST,
    ],
)
def test_what_may_pass_is_tried_again(message):
    assert is_transient(D, message)


@pytest.mark.parametrize(
    "message",
    [
        "HTTP Error 404: Not Found",
        "HTTP Error 403: refused: 10.0.0.1 is private",
        "<urlopen error Tunnel connection failed: 403 refused: 127.0.0.1 is loopback>",
        "HTTP Error 502: no such host: gone.example",
        "HTTP Error 413: larger than 67,108,864 bytes: 99,999,999",
        "<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1006)>",
        "Use of image disallowed by X-Robots-Tag directive",
        "refused: the scheme 'file' is neither http nor https",
        None,
    ],
)
def test_what_stays_as_it_is_is_not(message):
    assert not is_transient(D, message)


def test_what_came_and_is_no_image_is_not_asked_for_again():
    assert not is_transient("failed_to_resize", "image decoding error: timed out")
    assert not is_transient("success", None)
