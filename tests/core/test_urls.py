from __future__ import annotations

import pytest

from scanner.core.errors import ConfigError, SourceError
from scanner.core.store import Store
from scanner.core.urls import public, public_text, refuse_credentials
from scanner.sources.open import open_source

SECRET = "hunter2-and-more"


@pytest.mark.parametrize(
    "url",
    [f"s3://key:{SECRET}@bucket/set", f"ftp://me:{SECRET}@host/x", f"s3://key:ab/{SECRET}@bucket/set", f"https://h.org/a?X-Amz-Signature={SECRET}&b=1",
     f"https://h.org/a.parquet?b=1&sig={SECRET}", f"https://h.org/a?access_token={SECRET}"],
)  # fmt: skip
def test_urls_with_credentials_are_refused_without_showing_them(url):
    for use in (refuse_credentials, Store, open_source, lambda url: open_source(url, format="folder")):
        with pytest.raises(ConfigError, match="environment") as caught:
            use(url)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/a@b/c:d",
        "sftp://me@host/x",
        "https://h.org:80/a:b@c",
        "C:/x@y",
        "a:b@c",
        "https://h.org/a?b=token",
        "/x?sig=1",
    ],
)
def test_other_urls_pass(url):
    refuse_credentials(url)


def test_a_file_that_is_read_once_may_be_signed():
    refuse_credentials("https://h.org/list.txt?sig=abc", may_be_signed=True)
    with pytest.raises(ConfigError):
        refuse_credentials("https://a:b@h.org/list.txt", may_be_signed=True)


def test_what_is_shown_holds_no_secret(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    said = f"GET https://me:pw@h.org/b/k?X-Amz-Signature=abc failed:\n  key {SECRET} is no good"
    assert public_text(said) == "GET https://h.org/b/k failed: key … is no good"
    assert public("https://me:pw@h.org/b/k?x=y#z") == "https://h.org/b/k"


def test_a_missing_driver_is_named_with_its_extra(monkeypatch):
    import fsspec

    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(SourceError, match=r"trainscan\[s3\]"):
        open_source("s3://bucket/set")
