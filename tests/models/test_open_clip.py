"""The image tower gives open_clip's own vectors, and every mismatch that open_clip lets pass is an error."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from scanner.core.errors import EncoderError
from scanner.models.loading import encoder_identity, load_encoder
from scanner.models.open_clip import OpenClipName


def _pixels(n, side=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3)).astype(np.uint8)


def _open_clip_vectors(folder, pixels):
    """What open_clip's own loading, transform and ``encode_image`` give for images that already have its size."""
    import open_clip
    import torch
    from PIL import Image

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    with torch.inference_mode():
        batch = torch.stack([transform(Image.fromarray(image)) for image in pixels])
        return model.eval().encode_image(batch, normalize=True).numpy()


def test_vectors_are_open_clips_own(folder):
    encoder = load_encoder(f"open_clip:local-dir:{folder}", device="cpu", precision="fp32")
    pixels = _pixels(9)
    vectors = encoder.encode(pixels)
    assert vectors.dtype == np.float32
    assert vectors.shape == (9, encoder.dim) == (9, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (vectors * _open_clip_vectors(folder, pixels)).sum(axis=1).min() > 1 - 1e-6
    swapped = np.ascontiguousarray(pixels[..., ::-1])
    assert (encoder.encode(swapped) * vectors).sum(axis=1).max() < 1 - 1e-4, "the test model does not see its input"


def test_preprocessing_is_the_folders(folder):
    preprocess = load_encoder(f"open_clip:local-dir:{folder}", device="cpu").preprocess
    assert preprocess.size == (32, 32)
    assert preprocess.resize_mode == "squash"
    assert preprocess.interpolation == "bilinear"
    assert preprocess.mean == (0.5, 0.4, 0.3)
    assert preprocess.std == (0.2, 0.25, 0.3)


def test_the_same_batch_gives_the_same_bits_also_when_read_only(folder):
    encoder = load_encoder(f"open_clip:local-dir:{folder}", device="cpu")
    pixels = _pixels(7)
    first = encoder.encode(pixels)
    pixels.flags.writeable = False
    assert (encoder.encode(pixels) == first).all()
    again = load_encoder(f"open_clip:local-dir:{folder}", device="cpu")
    assert (again.encode(pixels) == first).all()
    assert encoder.encode(pixels[:0]).shape == (0, 16)


def test_bf16_is_close_and_holds_bf16_weights(folder):
    import torch

    pixels = _pixels(16)
    exact = load_encoder(f"open_clip:local-dir:{folder}", device="cpu", precision="fp32")
    rounded = load_encoder(f"open_clip:local-dir:{folder}", device="cpu", precision="bf16")
    assert {p.dtype for p in rounded._visual.parameters()} == {torch.bfloat16}
    assert rounded.precision == "bf16"
    cosines = (exact.encode(pixels) * rounded.encode(pixels)).sum(axis=1)
    assert 0.999 < cosines.min() < 1
    np.testing.assert_allclose(np.linalg.norm(rounded.encode(pixels), axis=1), 1, atol=1e-6)


def test_auto_precision_follows_the_cpu(folder, monkeypatch, caplog):
    import torch

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert load_encoder(f"open_clip:local-dir:{folder}", device="cpu").precision == "bf16"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False})
    with caplog.at_level(logging.INFO, "scanner.models.open_clip"):
        assert load_encoder(f"open_clip:local-dir:{folder}", device="cpu").precision == "fp32"
    assert "encoding in fp32" in caplog.text


def test_no_text_tower_is_kept(folder):
    encoder = load_encoder(f"open_clip:local-dir:{folder}", device="cpu")
    assert not [name for name in encoder._visual.state_dict() if "token" in name or "text" in name]


def test_digest_and_identity_follow_the_content(folder, tmp_path, save_folder):
    name = f"open_clip:local-dir:{folder}"
    weights = folder / "open_clip_model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert load_encoder(name, device="cpu").weights_digest == digest
    before = encoder_identity(name)
    assert encoder_identity(f"open_clip:ViT-B-32/{weights}") == f"open_clip:ViT-B-32/sha256:{digest}"

    moved = save_folder(tmp_path / "elsewhere")
    assert encoder_identity(f"open_clip:local-dir:{moved}") == before
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["mean"] = [0, 0, 0]
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    assert encoder_identity(name) != before


def test_names():
    def parse(text):
        name = OpenClipName.parse(text)
        return name.model, name.tag, name.path and str(name.path)

    assert parse("ViT-B-32/laion2b_s34b_b79k") == ("ViT-B-32", "laion2b_s34b_b79k", None)
    assert parse("ViT-B-32/LAION2B-s34b-b79k") == ("ViT-B-32", "laion2b_s34b_b79k", None)
    assert parse("ViT-B-32//data/vit.safetensors") == ("ViT-B-32", "", "/data/vit.safetensors")
    assert parse("ViT-B-32/./weights.pt") == ("ViT-B-32", "", "weights.pt")
    assert parse("ViT-B-32/weights.pt") == ("ViT-B-32", "", "weights.pt")
    assert parse("ViT-B-32/a/b") == ("ViT-B-32", "", "a/b")
    assert parse("local-dir:/folder") == ("", "", "/folder")
    assert str(OpenClipName.parse("ViT-B-32//data/vit.safetensors")) == "open_clip:ViT-B-32//data/vit.safetensors"


@pytest.mark.parametrize("change", ["missing", "unexpected", "nan", "positions", "dim"])
def test_weights_that_do_not_fit_are_refused(tmp_path, save_folder, change):
    import torch

    def edit(state):
        if change == "missing":
            del state["visual.ln_post.bias"]
        elif change == "unexpected":
            state["visual.extra"] = torch.zeros(3)
        elif change == "nan":
            state["visual.conv1.weight"][0, 0, 0, 0] = torch.nan
        elif change == "positions":  # open_clip interpolates these without a word
            state["visual.positional_embedding"] = torch.zeros(8 * 8 + 1, 32)
        else:
            state["visual.proj"] = torch.zeros(32, 8)

    folder = save_folder(tmp_path / "model", change=edit)
    says = {
        "missing": "ln_post.bias",
        "unexpected": "visual.extra",
        "nan": "not finite",
        "positions": "positional_embedding",
        "dim": "visual.proj",
    }
    with pytest.raises(EncoderError, match=says[change]):
        load_encoder(f"open_clip:local-dir:{folder}", device="cpu")


class _Runs:
    """What a hostile pickle does: runs a command when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickles_are_refused_and_not_run(folder, tmp_path):
    import torch

    ran = tmp_path / "ran"
    for weights in (folder / "open_clip_pytorch_model.bin", tmp_path / "weights.pt"):
        torch.save({"state_dict": {"a": torch.zeros(1)}, "config": _Runs(ran)}, weights)
    (folder / "open_clip_model.safetensors").unlink()
    for name in (f"open_clip:local-dir:{folder}", f"open_clip:ViT-B-32/{tmp_path}/weights.pt"):
        with pytest.raises(EncoderError, match="unpickling"):
            load_encoder(name, device="cpu")
    assert not ran.exists()


def test_a_plain_state_dict_is_taken_from_pt(folder):
    import torch
    from safetensors.torch import load_file

    expected = load_encoder(f"open_clip:local-dir:{folder}", device="cpu", precision="fp32").encode(_pixels(3))
    state = load_file(folder / "open_clip_model.safetensors")
    torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}, folder / "model.pth")
    (folder / "open_clip_model.safetensors").unlink()
    again = load_encoder(f"open_clip:local-dir:{folder}", device="cpu", precision="fp32").encode(_pixels(3))
    assert (again == expected).all()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x00" * 64])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".npz"])
def test_damaged_files_are_refused(tmp_path, content, suffix):
    weights = tmp_path / f"weights{suffix}"
    weights.write_bytes(content)
    with pytest.raises(EncoderError, match=r"weights\."):
        load_encoder(f"open_clip:ViT-B-32/{weights}", device="cpu")


def test_folders_that_leave_the_weights_open_are_refused(folder):
    weights = folder / "open_clip_model.safetensors"
    for name in ("a.safetensors", "b.safetensors"):
        (folder / name).write_bytes(weights.read_bytes())
    weights.unlink()
    with pytest.raises(EncoderError, match=r"a\.safetensors, b\.safetensors"):
        load_encoder(f"open_clip:local-dir:{folder}", device="cpu")
    (folder / "a.safetensors").unlink()
    load_encoder(f"open_clip:local-dir:{folder}", device="cpu")
    (folder / "b.safetensors").unlink()
    with pytest.raises(EncoderError, match="no weights"):
        encoder_identity(f"open_clip:local-dir:{folder}")
    (folder / "open_clip_config.json").unlink()
    with pytest.raises(EncoderError, match="open_clip_config"):
        load_encoder(f"open_clip:local-dir:{folder}", device="cpu")


def test_vectors_that_are_not_finite_are_an_error(tmp_path, save_folder):
    def blow_up(state):
        state["visual.proj"] *= 1e38
        state["visual.proj"] *= 10

    folder = save_folder(tmp_path / "model", change=blow_up)
    with pytest.raises(EncoderError, match="not finite"):
        load_encoder(f"open_clip:local-dir:{folder}", device="cpu", precision="fp32").encode(_pixels(2))


def test_loading_leaves_the_root_logger_alone(folder, monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    load_encoder(f"open_clip:local-dir:{folder}", device="cpu")
    assert root.handlers == []


def test_a_missing_gpu_is_an_error(folder, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EncoderError, match="GPU"):
        load_encoder(f"open_clip:local-dir:{folder}", device="cuda")
    assert load_encoder(f"open_clip:local-dir:{folder}", device="auto").device == "cpu"
