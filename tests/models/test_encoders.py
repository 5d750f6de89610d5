"""Names lead to one encoder or to an error that says what to write; weights that cannot be had are known within seconds."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from scanner.core.errors import EncoderError
from scanner.models import hub
from scanner.models.catalog import preprocessing_of_file, pretrained_module
from scanner.models.loading import encoder_identity, load_encoder


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("open_clip:ViT-B-32/laion2b_s34b_b79", "Did you mean 'laion2b_s34b_b79k'"),
        ("open_clip:ViT-B32/openai", "Did you mean 'ViT-B-32'"),
        ("open_clip:ViT-B-32/openai", "Use open_clip:ViT-B-32-quickgelu/openai"),
        ("open_clip:ViT-H-14/dfn5b", "Use open_clip:ViT-H-14-quickgelu/dfn5b"),
        ("open_clip:ViT-M-32/laion2b", "No weights are published for ViT-M-32"),
        ("open_clip:ViT-L-14//no/such/file.pt", "open_clip:local-dir:FOLDER"),
        ("open_clip:ViT-B-32//no/such/file.pt", "no weights file at /no/such/file.pt"),
        ("open_clip:ViT-B-32/./file.pt", "current folder"),
        ("open_clip:ViT-B-32", "which weights"),
        ("open_clip:hf-hub:org/repo", "local-dir:FOLDER"),
        ("open_clip:local-dir:/no/such/folder", "no folder"),
        ("open_clip:", "not complete"),
        ("pixels:3", "not complete"),
        ("pixel", "Did you mean 'pixels'"),
        ("ViT-B-32/openai", "Did you mean 'open_clip:ViT-B-32/openai'"),
    ],
)
def test_a_name_that_leads_nowhere_says_what_to_write(name, says):
    with pytest.raises(EncoderError) as raised:
        load_encoder(name, device="cpu")
    assert says in str(raised.value)


def test_every_published_tag_is_had_or_is_a_mismatch(monkeypatch, tmp_path):
    """Of each published (model, tag): the loader reaches the download, unless the activation would be wrong."""
    asked = []
    monkeypatch.setattr("scanner.models.open_clip.fetch_pretrained", lambda name, _: asked.append(name) or tmp_path / "x.pt")
    monkeypatch.setattr("scanner.models.open_clip._create", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    mismatches = []
    for model, tag in pretrained_module().list_pretrained():
        try:
            load_encoder(f"open_clip:{model}/{tag}", device="cpu")
        except EncoderError as error:
            mismatches.append(str(error))
        except KeyboardInterrupt:
            continue
    assert "open_clip:ViT-B-32/laion2b_s34b_b79k" in asked
    assert all("GELU" in message for message in mismatches)
    assert len(mismatches) + len(asked) == len(pretrained_module().list_pretrained())
    assert len(mismatches) < len(asked) / 4


def test_a_file_takes_the_preprocessing_its_model_was_published_with():
    assert preprocessing_of_file("ViT-B-16-SigLIP")["resize_mode"] == "squash"
    assert preprocessing_of_file("ViT-B-16-SigLIP")["mean"] == (0.5, 0.5, 0.5)
    assert preprocessing_of_file("ViT-B-32")["resize_mode"] == "shortest"
    assert preprocessing_of_file("ViT-M-32") == {}


class _Session:
    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    def head(self, address, *, timeout):
        self.asked.append(address)
        return self.answer()


@pytest.fixture
def empty_cache(monkeypatch):
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo, name: None)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def serve(answer):
        session = _Session(answer)
        monkeypatch.setattr(huggingface_hub, "get_session", lambda: session)
        return session

    return serve


def _refuse():
    raise OSError("no route to host")


def _hang():
    time.sleep(60)


def _unavailable():
    return type("Response", (), {"status_code": 503})()


@pytest.mark.parametrize(("answer", "says"), [(_refuse, "no route"), (_hang, "within"), (_unavailable, "answered 503")])
def test_an_unreachable_hub_is_an_error_within_seconds(empty_cache, monkeypatch, answer, says):
    monkeypatch.setattr(hub, "_PROBE_DEADLINE_S", 0.5)
    session = empty_cache(answer)
    start = time.monotonic()
    with pytest.raises(EncoderError, match=says) as raised:
        load_encoder("open_clip:ViT-B-32/laion2b_s34b_b79k", device="cpu")
    assert time.monotonic() - start < 10
    assert len(session.asked) == 1, "one request, no retries"
    assert "`small`" in str(raised.value)
    assert "open_clip:local-dir:FOLDER" in str(raised.value)


def test_the_offline_switch_asks_nobody(empty_cache, monkeypatch):
    from huggingface_hub import constants

    session = empty_cache(_refuse)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match="HF_HUB_OFFLINE"):
        load_encoder("open_clip:ViT-B-32/laion2b_s34b_b79k", device="cpu")
    assert session.asked == []


def test_a_reachable_hub_is_asked_by_open_clip_itself(empty_cache, monkeypatch, tmp_path):
    empty_cache(lambda: type("Response", (), {"status_code": 302})())
    asked = []
    monkeypatch.setattr(pretrained_module(), "download_pretrained", lambda cfg: asked.append(cfg) or str(tmp_path / "w.bin"))
    path = hub.fetch_pretrained("open_clip:ViT-B-32/x", {"hf_hub": "org/repo/", "url": ""})
    assert path == tmp_path / "w.bin"
    assert asked == [{"hf_hub": "org/repo/", "url": ""}]


def test_the_cache_is_used_without_asking(empty_cache, monkeypatch, tmp_path):
    import huggingface_hub

    session = empty_cache(_refuse)
    wanted = []
    found = {"open_clip_pytorch_model.bin": str(tmp_path / "cached.bin")}
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda repo, name: wanted.append((repo, name)) or found.get(name)
    )
    assert hub.fetch_pretrained("x", {"hf_hub": "org/repo/"}) == tmp_path / "cached.bin"
    assert wanted == [("org/repo", "open_clip_model.safetensors"), ("org/repo", "open_clip_pytorch_model.bin")]
    assert session.asked == []


def test_identity_needs_no_torch(tmp_path):
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"content")
    code = (
        "import sys; from scanner.models.loading import encoder_identity as i;"
        f"print(i('pixels'), i('open_clip:ViT-B-32/laion2b-s34b_b79k'), i('open_clip:ViT-B-32/{weights}'));"
        "assert not {'torch', 'open_clip', 'huggingface_hub', 'safetensors'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    pixels, tag, file = done.stdout.split()
    assert pixels == "pixels/2"
    assert tag == "open_clip:ViT-B-32/laion2b_s34b_b79k"
    assert file.startswith("open_clip:ViT-B-32/sha256:ed7002b4")


def test_identity_of_an_absent_file_is_an_error():
    with pytest.raises(EncoderError, match="no weights file"):
        encoder_identity("open_clip:ViT-B-32//no/such/file.safetensors")
