"""The recipe end to end at a tiny size: what is read, tokenised, trained, written and told of it."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from scanner.core.errors import ConfigError, TrainingError
from scanner.core.progress import Progress
from scanner.lab import toy, toy_models
from scanner.lab.planted import make_planted
from scanner.lab.toy import VARIANTS, Steps, train_toy
from scanner.lab.toy_data import read_toy_set
from scanner.lab.toy_manifest import read_manifest, round_trip_floor
from scanner.lab.toy_models import Sizes
from scanner.lab.toy_tokenizer import NUM_TOKENS, check_tokens, clip_tokenizer, trim_vocabulary
from scanner.models.generators import load_generator
from scanner.models.weights import folder_sha256

SIZES = Sizes(vae=(8, 8), unet=(8, 16), unconditional=(8, 8, 16))
STEPS = Steps(vae=80, unet=6, unconditional=4)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("toy") / "set"
    make_planted(str(out), num_images=200, seed=5)
    return out


@pytest.fixture(scope="module")
def toy_set(folder):
    return read_toy_set(folder)


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """All four variants."""
    out = tmp_path_factory.mktemp("toy") / "models"
    for variant in VARIANTS:
        train_toy(folder, out, variant=variant, steps=STEPS, sizes=SIZES, device="cpu")
    return out


def _weights(folder, part="unet"):
    from safetensors.torch import load_file

    return load_file(next((folder / part).glob("*.safetensors")))


def test_the_set_is_read_as_the_truth_has_it(folder, toy_set):
    import tarfile

    truth = {row["key"]: row for row in pq.read_table(folder / "truth.parquet").to_pylist()}
    readable = [row for row in truth.values() if row["kind"] != "broken"]
    assert len(toy_set) == len(readable) == len(truth) - 1
    assert toy_set.captions == tuple(row["caption"] for row in readable)
    assert toy_set.planted_id.tolist() == [row["planted_id"] for row in readable]
    sources = [row["planted_id"] for row in readable if row["copy"] == 0]
    assert toy_set.planted_id[toy_set.sources].tolist() == sources
    assert len(set(sources)) == len(sources) == len(set(toy_set.planted_id.tolist()))
    assert not toy_set.is_picture[[row["kind"] in ("blank", "placeholder") for row in readable]].any()
    assert toy_set.is_picture.sum() == sum(row["kind"] not in ("blank", "placeholder") for row in readable)
    with tarfile.open(folder / "shards" / "00000.tar") as tar:
        for place in (0, 17, len(toy_set) - 1):
            with Image.open(io.BytesIO(tar.extractfile(f"{readable[place]['key']}.jpg").read())) as image:
                expected = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC))
            assert (toy_set.images[place] == expected).all()
    distinct = {image.tobytes() for image in toy_set.images}
    assert {toy_set.images[row].tobytes() for row in toy_set.distinct.tolist()} == distinct
    assert len(toy_set.distinct) == len(distinct) < len(toy_set)
    assert len(toy_set.held_out) >= 100


def test_sets_that_cannot_be_used(folder, tmp_path):
    with pytest.raises(ConfigError, match="truth"):
        read_toy_set(tmp_path)
    shutil.copytree(folder, tmp_path / "set")
    shutil.move(tmp_path / "set" / "shards", tmp_path / "set" / "images")
    with pytest.raises(ConfigError, match="no shards"):
        read_toy_set(tmp_path / "set")
    (tmp_path / "set" / "shards").mkdir()
    with pytest.raises(ConfigError, match="no shards"):
        read_toy_set(tmp_path / "set")
    tarfile.open(tmp_path / "set" / "shards" / "00000.tar", "w").close()
    with pytest.raises(ConfigError, match="lacks the files of 200 rows"):
        read_toy_set(tmp_path / "set")
    with pytest.raises(ConfigError, match=r"no variant 'toy-dedupe'.\n.*'toy-dedup'"):
        train_toy(folder, tmp_path, variant="toy-dedupe")


def test_digest_tells_sets_apart(toy_set):
    other = toy_set.images.copy()
    other[3, 4, 5, 1] ^= 1
    assert replace(toy_set, images=other).digest != toy_set.digest
    assert replace(toy_set, captions=(*toy_set.captions[:-1], "x")).digest != toy_set.digest


def test_tokens_are_clips_own(toy_set, tmp_path):
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizer

    tokenizer = clip_tokenizer(trim_vocabulary(toy_set.captions))
    full = SimpleTokenizer()
    lengths = []
    for caption in set(toy_set.captions):
        expected = [full.decoder[i] for i in full.encode(caption)]
        ids = tokenizer(caption)["input_ids"]
        assert tokenizer.convert_ids_to_tokens(ids) == ["<|startoftext|>", *expected, "<|endoftext|>"]
        lengths.append(len(ids))
    assert max(lengths) <= NUM_TOKENS
    assert 512 < len(tokenizer) < 2000
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    assert tokenizer.eos_token_id == len(tokenizer) - 1 == tokenizer.pad_token_id
    tokenizer.save_pretrained(tmp_path)
    again = CLIPTokenizer.from_pretrained(tmp_path, local_files_only=True)
    caption = toy_set.captions[0]
    assert again(caption)["input_ids"] == tokenizer(caption)["input_ids"]
    assert again.model_max_length == NUM_TOKENS


def test_text_of_no_caption_is_written_in_bytes():
    tokenizer = clip_tokenizer(trim_vocabulary(["red hills"]))
    assert tokenizer.tokenize("red hills") == ["red</w>", "hills</w>"]
    unknown = tokenizer.tokenize("Ünlike ☃ red")
    assert unknown[-1] == "red</w>"
    assert tokenizer.unk_token not in unknown
    assert len(unknown) == len("ünlike".encode()) + len("☃".encode()) + 1


def test_captions_that_clip_would_clean_are_refused():
    captions = ["salt &amp; pepper"]
    with pytest.raises(TrainingError, match="amp"):
        check_tokens(clip_tokenizer(trim_vocabulary(captions)), captions)
    with pytest.raises(TrainingError, match="blue"):
        check_tokens(clip_tokenizer(trim_vocabulary(["red"])), ["blue"])


def test_latents_are_standardised_without_changing_what_is_decoded(toy_set):
    torch.manual_seed(0)
    vae = toy_models.new_vae(SIZES).eval()
    x = torch.from_numpy(toy_set.images[:40]).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        before = vae.encode(x).latent_dist
        decoded = vae.decode(before.mean).sample
        toy_models.standardise_latents(vae, before.mean.mean(dim=(0, 2, 3)), before.mean.std(dim=(0, 2, 3)))
        after = vae.encode(x).latent_dist
        torch.testing.assert_close(vae.decode(after.mean).sample, decoded, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after.mean.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(after.mean.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        after.std / after.mean.std(), before.std / before.mean.std(dim=(0, 2, 3))[:, None, None], rtol=0.01, atol=0
    )


def test_bundled_sizes_hold_the_budget():
    """10 MB in fp16 for all four, tokenizers included; one million parameters and more in the text-to-image UNet."""
    sizes = Sizes()
    tokenizer = clip_tokenizer(trim_vocabulary([]))
    networks = {
        "unet": toy_models.new_unet(sizes), "vae": toy_models.new_vae(sizes), "text": toy_models.new_text_encoder(tokenizer),
        "pixels": toy_models.new_unconditional_unet(sizes),
    }  # fmt: skip
    counts = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
    assert 1_000_000 < counts["unet"] < 2_500_000
    assert counts["pixels"] < 1_200_000
    latent = counts["unet"] + counts["vae"] + counts["text"] + 1000 * toy_models.TEXT_WIDTH
    assert 2 * (2 * latent + 2 * counts["pixels"]) + 2 * 200_000 < 10_000_000


def test_folders_are_pipelines_in_fp16(trained):
    from diffusers import DDPMPipeline, StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(trained / "toy", local_files_only=True)
    assert type(pipeline.vae).__name__ == "AutoencoderKL"
    assert type(pipeline.scheduler).__name__ == "DDIMScheduler"
    assert pipeline.safety_checker is None
    assert pipeline.vae_scale_factor == 2
    assert pipeline.unet.config.sample_size == 16
    assert DDPMPipeline.from_pretrained(trained / "toy-unconditional").unet.config.sample_size == 32
    for variant in VARIANTS:
        for path in (trained / variant).rglob("*.safetensors"):
            assert {tensor.dtype for tensor in _weights(trained / variant, path.parent.name).values()} == {torch.float16}
    assert not list(trained.rglob("*.bin"))
    assert str(trained) not in "".join(path.read_text() for path in trained.rglob("*.json"))


def test_variants_share_what_they_are_to_share(trained):
    for part in ("vae", "tokenizer", "scheduler"):
        for path in (trained / "toy" / part).iterdir():
            assert path.read_bytes() == (trained / "toy-dedup" / part / path.name).read_bytes(), path
    for pair in (("toy", "toy-dedup"), ("toy-unconditional", "toy-unconditional-dedup")):
        first, second = (_weights(trained / variant) for variant in pair)
        assert any(not torch.equal(first[key], second[key]) for key in first)


def test_manifest_tells_data_floor_and_files(trained, toy_set):
    manifest = read_manifest(trained / "toy")
    assert manifest["set"]["made_with"]["seed"] == 5
    assert manifest["set"]["num_rows"] == len(toy_set)
    planted = {row["planted_id"]: row for row in manifest["set"]["planted"]}
    for planted_id, row in planted.items():
        mine = toy_set.planted_id == planted_id
        assert row["num_rows"] == mine.sum() >= row["k"] > 1
        assert row["num_captions"] == len({toy_set.captions[i] for i in np.flatnonzero(mine)})
    assert len(planted) == len({i for i, k in zip(toy_set.planted_id, toy_set.k, strict=True) if k > 1 and toy_set.is_picture[i]})
    assert manifest["training"] == {"num_images_seen": 6 * 16, "num_epochs": round(6 * 16 / len(toy_set), 1)}
    dedup = read_manifest(trained / "toy-dedup")
    assert dedup["set"]["num_rows"] == dedup["set"]["num_pictures"] == len(toy_set.sources)
    assert {row["num_rows"] for row in dedup["set"]["planted"]} == {1}
    back = load_generator(trained / "toy", device="cpu").round_trip(toy_set.images[toy_set.sources])
    floor = round_trip_floor(toy_set, back, toy_set.sources)
    assert floor["all"]["num_pictures"] == toy_set.is_picture[toy_set.sources].sum()
    assert manifest["round_trip"]["all"]["mean_rms"] == pytest.approx(floor["all"]["mean_rms"], abs=1e-3)
    assert manifest["round_trip"].keys() == {"all", *toy_set.scene}
    assert read_manifest(trained / "toy-unconditional")["round_trip"] is None
    for variant in VARIANTS:
        told = read_manifest(trained / variant)["sha256"]
        assert told == folder_sha256(trained / variant)
        assert {"model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"} <= told.keys()


def test_a_folder_without_a_manifest(tmp_path):
    with pytest.raises(ConfigError, match="no manifest"):
        read_manifest(tmp_path)


def test_the_autoencoder_learns(trained, toy_set):
    """Even so few steps of so small a one come closer than one picture for all, the mean of them."""
    images = toy_set.images[toy_set.sources]
    learned = read_manifest(trained / "toy")["round_trip"]["all"]["mean_rms"]
    mean = np.broadcast_to(images.mean(axis=0, dtype=np.float64).round().astype(np.uint8), images.shape)
    assert learned < 0.9 * round_trip_floor(toy_set, mean, toy_set.sources)["all"]["mean_rms"]


def test_generators_sample_every_variant(trained):
    for variant in VARIANTS:
        generator = load_generator(trained / variant, device="cpu")
        prompt, guidance = ("a red cat", 3.0) if generator.takes_prompts else ("", 1.0)
        images = generator.generate([prompt] * 2, [0, 1], num_inference_steps=2, guidance_scale=guidance)
        assert images.shape == (2, 32, 32, 3)
        assert (images[0] != images[1]).any()


def test_a_model_that_is_there_is_left_as_it_is(trained, folder):
    before = {path: path.stat().st_mtime_ns for path in (trained / "toy").rglob("*")}
    train_toy(folder, trained, variant="toy", steps=STEPS, sizes=SIZES, device="cpu")
    assert {path: path.stat().st_mtime_ns for path in (trained / "toy").rglob("*")} == before


class Interrupted(Progress):
    """Stops the training of one name after some steps, as a user would."""

    def __init__(self, name):
        super().__init__(quiet=True)
        self.name = name

    def bar(self, name, **options):
        if name == self.name:
            raise KeyboardInterrupt
        return super().bar(name, **options)


def test_training_goes_on_where_it_was_and_gives_the_same(trained, folder, tmp_path, monkeypatch):
    options = {"variant": "toy", "steps": STEPS, "sizes": SIZES, "device": "cpu"}
    with pytest.raises(KeyboardInterrupt):
        train_toy(folder, tmp_path, **options, progress=Interrupted("unet"))
    assert not (tmp_path / "toy").exists()
    monkeypatch.setattr(toy, "_turned_and_cropped", lambda *args: pytest.fail("the autoencoder is trained again"))
    train_toy(folder, tmp_path, **options)
    for part in ("vae", "text_encoder", "unet"):
        first, second = _weights(trained / "toy", part), _weights(tmp_path / "toy", part)
        assert all(torch.equal(first[key], second[key]) for key in first), part
    manifests = [json.loads((out / "toy" / "manifest.json").read_text()) for out in (trained, tmp_path)]
    assert manifests[0] == manifests[1]


def test_other_settings_are_another_training(trained, folder, tmp_path):
    shutil.copytree(trained / "training", tmp_path / "training")
    train_toy(folder, tmp_path, variant="toy-unconditional", seed=2, steps=STEPS, sizes=SIZES, device="cpu")
    first, second = _weights(trained / "toy-unconditional"), _weights(tmp_path / "toy-unconditional")
    assert any(not torch.equal(first[key], second[key]) for key in first)
