"""The recipe of the bundled encoder ``small``: an open_clip model that sees copies, with a text tower for its captions.

Two losses share one space. Copies: InfoNCE (van den Oord et al. 2018) over two altered views of each picture, with entropy
regularisation (Pizzi et al. 2022, "A self-supervised descriptor for image copy detection", eq. 3), against the rest of the
batch, against sisters of the same series or template family, and against edits of the picture itself. Text: the symmetric
contrastive loss of CLIP (Radford et al. 2021).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scanner.core.progress import Progress
from scanner.lab.calibrate import calibrate
from scanner.lab.encoder_data import KINDS, Mix, TrainingImages, load_training_images
from scanner.lab.planted import VERSION as PLANTED_VERSION
from scanner.lab.planted import make_planted
from scanner.lab.views import FAITHFUL, FRAMED, MILD, STRONG, Strength, as_new_pictures, edit, move_part, recolor, view
from scanner.models.open_clip import load_open_clip
from scanner.models.training import Schedule, train

if TYPE_CHECKING:
    import torch

SIDE = 64
SOURCE_SIDE = 80
NUM_MERGES = 2048
CONTEXT = 32
WEIGHTS, CONFIG, MERGES = "open_clip_model.safetensors", "open_clip_config.json", "bpe_merges.txt.gz"
CALIBRATION, MANIFEST = "calibration.json", "manifest.json"

TAU = 0.05
ENTROPY_WEIGHT = 3.0
TEXT_WEIGHT = 0.5
COPY_COSINE, STRANGER_COSINE = 0.93, 0.70
EDIT_SHARE = 0.5
"""Of the sources of a batch, so many have an edit among the negatives."""
SAME_RMS = 0.02
"""Pictures whose 16 x 16 thumbnails are closer than this (RMS of levels in [0, 1]) are nobody's negatives."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stretch of the training.

    Attributes:
        steps, learning_rate: of its schedule.
        mix: of its batches.
        strength: of the second view; the first is mild.
        margin_weight: of the loss that asks for a gap at fixed cosines; 0 leaves it out.
        is_fine: drawings are varied into new pictures, tones of an emoji are strangers, and edits are also parts that moved
            and other colours; else edits only show something else in a region.
    """

    steps: int
    learning_rate: float
    mix: Mix
    strength: Strength
    is_fine: bool
    margin_weight: float = 0.0


COARSE_MIX = Mix(
    shares={"template": 0.12, "openclipart": 0.23, "noto": 0.12}, sisters={"template": 4, "openclipart": 3, "noto": 1}
)
GAP_MIX = Mix(shares={"template": 0.22, "openclipart": 0.26, "noto": 0.14}, sisters={"template": 4, "openclipart": 4, "noto": 4})
FINE_MIX = Mix(shares={"template": 0.12, "openclipart": 0.32, "noto": 0.2}, sisters={"template": 4, "openclipart": 4, "noto": 4})


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderRecipe:
    """Sizes of a training. The defaults are those of the shipped weights.

    First what copies are, learned on all that is there; then, at a lower rate, what they are not: sisters of a drawn series,
    other colours, a part that moved; last, a gap between the two at fixed cosines, since a threshold is one cosine for all.

    Attributes:
        seed: of the planted set, the weights and every step.
        num_planted: rows of the planted set; its source pictures are what is learned from.
        coarse_steps, fine_steps, gap_steps: updates of the three stages.
        num_sources: pictures a step; each gives two views, half of them an edit besides.
        num_calibration, calibration_seed: rows and seed of the planted set that the threshold is calibrated on.
    """

    seed: int = 1
    num_planted: int = 24_000
    coarse_steps: int = 2_600
    fine_steps: int = 1_200
    gap_steps: int = 640
    num_sources: int = 128
    coarse_rate: float = 1.5e-3
    fine_rate: float = 6e-4
    gap_rate: float = 4e-4
    num_calibration: int = 20_000
    calibration_seed: int = 1001

    @property
    def stages(self) -> dict[str, Stage]:
        return {
            "coarse": Stage(
                steps=self.coarse_steps, learning_rate=self.coarse_rate, mix=COARSE_MIX, strength=STRONG, is_fine=False
            ),
            "fine": Stage(steps=self.fine_steps, learning_rate=self.fine_rate, mix=FINE_MIX, strength=FAITHFUL, is_fine=True),
            "gap": Stage(
                steps=self.gap_steps, learning_rate=self.gap_rate, mix=GAP_MIX, strength=FRAMED, is_fine=True, margin_weight=1.0
            ),
        }

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def model_config() -> dict[str, Any]:
    """open_clip's ``model_cfg``: an attention-pooled residual net of 2.2 and a text tower of 0.5 million parameters."""
    return {
        "embed_dim": 256,
        "vision_cfg": {"image_size": SIDE, "layers": [1, 1, 1, 1], "width": 20},
        "text_cfg": {
            "context_length": CONTEXT, "vocab_size": NUM_MERGES + 512 + 2, "width": 96, "heads": 4, "layers": 2,
            "tokenizer_kwargs": {"bpe_path": MERGES},
        },
    }  # fmt: skip


def preprocess_config() -> dict[str, Any]:
    """open_clip's ``preprocess_cfg``: both sides brought to 64 pixels, so that no edge is cut off."""
    half = [0.5, 0.5, 0.5]
    return {"size": SIDE, "mode": "RGB", "mean": half, "std": half, "interpolation": "bicubic", "resize_mode": "squash"}


def train_encoder(
    out: Path, *, work: Path, drawings: Sequence[Path], recipe: EncoderRecipe, progress: Progress, workers: int = 1
) -> Path:
    """Trains into ``out``: an open_clip folder (config, fp16 safetensors, merges of the tokenizer), the
    threshold with what it rests on, and a manifest.

    Args:
        work: folder of the planted set and the checkpoint; an interrupted training goes on from there.
        drawings: folders of real drawings, may be empty; of each only the split ``train`` is read.
        workers: processes that draw the planted set.

    Raises:
        ConfigError, SourceError, TrainingError: see make_planted, load_training_images and training.train.
    """
    import torch

    planted = make_planted(
        str(work / "planted"), num_images=recipe.num_planted, seed=recipe.seed, copied_share=0.1, workers=workers,
        progress=progress,
    )  # fmt: skip
    images = load_training_images(planted, drawings, SOURCE_SIDE)
    progress.say(f"{len(images):,} pictures: " + ", ".join(f"{(images.kind == k).sum():,} {k}" for k in KINDS))
    out.mkdir(parents=True, exist_ok=True)
    _write_merges(out / MERGES)
    tokens = _tokens(images.captions, out / MERGES)
    torch.manual_seed(recipe.seed)
    model = _new_model().to(memory_format=torch.channels_last)
    for number, (name, stage) in enumerate(recipe.stages.items()):
        schedule = Schedule(
            steps=stage.steps, seed=recipe.seed + number, learning_rate=stage.learning_rate,
            warmup_steps=min(200, stage.steps // 10 + 1), clip_norm=2.0,
        )  # fmt: skip
        loss = _Loss(model, images, tokens, stage, recipe.num_sources)
        states = train(
            {"small": model}, loss, schedule, folder=work / name, name=name, progress=progress, images_a_step=recipe.num_sources
        )
        model.load_state_dict(states["small"])
    _save(out, model.state_dict())
    held = make_planted(
        str(work / "calibration"), num_images=recipe.num_calibration, seed=recipe.calibration_seed, workers=workers,
        progress=progress,
    )  # fmt: skip
    encoder = load_open_clip(f"local-dir:{out}", device="cpu", precision="fp32")
    found = calibrate(encoder, held, drawings, seed=recipe.calibration_seed)
    (out / CALIBRATION).write_text(json.dumps(found.to_dict(), indent=1), "utf-8")
    progress.say(f"threshold {found.threshold:g}: false pairs {dict(found.num_false)} of {dict(found.num_unlike)}")
    _write_manifest(out, recipe, images, drawings)
    return out


def _new_model() -> torch.nn.Module:
    from open_clip.model import CLIP

    config = model_config()
    text = {key: value for key, value in config["text_cfg"].items() if key != "tokenizer_kwargs"}
    model: torch.nn.Module = CLIP(embed_dim=config["embed_dim"], vision_cfg=config["vision_cfg"], text_cfg=text)
    return model


class _Loss:
    """See the module's text. ``tokens``: int64 (n, context); a first token of 0 marks a picture without a caption."""

    def __init__(
        self, model: torch.nn.Module, images: TrainingImages, tokens: torch.Tensor, stage: Stage, num_sources: int
    ) -> None:
        import torch

        self.model, self.images, self.tokens, self.stage, self.num_sources = model, images, tokens, stage, num_sources
        self.is_drawn = torch.from_numpy(np.isin(images.kind, ("openclipart", "noto")))

    def __call__(self, step: int, generator: torch.Generator) -> torch.Tensor:
        import torch
        from torch.nn import functional

        index = torch.from_numpy(self.images.batch(self.num_sources, self.stage.mix, generator))
        source, tokens, told = self.images.pixels[index], self.tokens[index], self.tokens[index][:, 0] != 0
        if self.stage.is_fine:
            varied = self.is_drawn[index] & (torch.rand(len(index), generator=generator) < 0.5)
            source, told = as_new_pictures(source, varied, generator), told & ~varied
        n = len(source)
        first, second = view(source, SIDE, MILD, generator), view(source, SIDE, self.stage.strength, generator)
        edits, edited = self._edits(source, first, generator)
        batch = torch.cat([first, second, edits]).sub(0.5).div_(0.5).contiguous(memory_format=torch.channels_last)
        features = functional.normalize(self.model.visual(batch).float(), dim=1)  # type: ignore[operator]
        thumbs, edit_thumbs = (functional.adaptive_avg_pool2d(x, 16).flatten(1) for x in (source / 255, edits))
        bound = SAME_RMS * thumbs.shape[1] ** 0.5
        is_same = torch.cdist(thumbs, thumbs) < bound
        # An edit that changed nothing (other colours of a black drawing) is no stranger to its source.
        unchanged = (edit_thumbs - thumbs[edited]).norm(dim=1) < 1.5 * bound
        views, strangers = features[: 2 * n], features[2 * n :][~unchanged]
        loss = copy_loss(views, strangers, is_same)
        if self.stage.margin_weight:
            loss = loss + self.stage.margin_weight * margin_loss(views, strangers, is_same)
        if bool(told.any()):
            texts = functional.normalize(self.model.encode_text(tokens[told]).float(), dim=1)  # type: ignore[operator]
            scale = self.model.logit_scale.exp().clamp(max=100)  # type: ignore[operator]
            loss = loss + TEXT_WEIGHT * text_loss(features[:n][told], texts, tokens[told], scale)
        return loss

    def _edits(self, source: torch.Tensor, first: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Edits (m, 3, side, side) and the rows (m,) that they were made of."""
        import torch

        edited = torch.randperm(len(source), generator=generator)[: int(EDIT_SHARE * len(source))]
        views = view(source[edited], SIDE, MILD, generator)
        if not self.stage.is_fine:
            return edit(views, first[edited.roll(1)], generator), edited
        third = len(edited) // 3
        replaced = edit(views[:third], first[edited.roll(1)][:third], generator, (0.10, 0.40))
        moved = move_part(views[third : 2 * third], generator)
        return torch.cat([replaced, moved, recolor(views[2 * third :], generator)]), edited


def copy_loss(views: torch.Tensor, edits: torch.Tensor, is_same: torch.Tensor) -> torch.Tensor:
    """InfoNCE at temperature ``TAU`` plus ``ENTROPY_WEIGHT`` times the negative log distance to the nearest stranger.

    Args:
        views: unit vectors (2n, d): first all first views, then all second ones.
        edits: unit vectors (m, d): negatives of everything.
        is_same: bool (n, n): sources that may be one picture and are not held against one another.
    """
    import torch
    from torch.nn import functional

    n = len(views) // 2
    similarity = views @ torch.cat([views, edits]).T
    same = is_same.repeat(2, 2)
    positive = torch.arange(2 * n).roll(n)
    hidden = same.clone()
    hidden[torch.arange(2 * n), positive] = False
    logits = similarity / TAU
    logits[:, : 2 * n] = logits[:, : 2 * n].masked_fill(hidden, -torch.inf)
    info = functional.cross_entropy(logits, positive)
    entropy = -0.5 * torch.log((2 - 2 * _nearest_stranger(similarity, same)).clamp_min(1e-4)).mean()
    return info + ENTROPY_WEIGHT * entropy


def margin_loss(views: torch.Tensor, edits: torch.Tensor, is_same: torch.Tensor) -> torch.Tensor:
    """Softplus of how far the two views of a picture stay below ``COPY_COSINE``, and its nearest stranger above
    ``STRANGER_COSINE``, in units of ``TAU``. InfoNCE is content once copies are nearer than the rest of the batch; a threshold
    needs them near as such. Arguments as of ``copy_loss``.
    """
    import torch
    from torch.nn import functional

    n = len(views) // 2
    own = (views[:n] * views[n:]).sum(dim=1)
    stranger = _nearest_stranger(views @ torch.cat([views, edits]).T, is_same.repeat(2, 2))
    far, near = functional.softplus((COPY_COSINE - own) / TAU), functional.softplus((stranger - STRANGER_COSINE) / TAU)
    return far.mean() + near.mean()


def _nearest_stranger(similarity: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    """(2n,): the highest cosine of each view with a view of another picture or with an edit."""
    import torch

    num_views = len(same)
    return torch.cat([similarity[:, :num_views].masked_fill(same, -1.0), similarity[:, num_views:]], 1).amax(1)


def text_loss(images: torch.Tensor, texts: torch.Tensor, tokens: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """CLIP's loss over unit vectors (n, d) each; pairs of equal ``tokens`` are not held against one another."""
    import torch
    from torch.nn import functional

    n = len(images)
    logits = scale * images @ texts.T
    equal = (tokens[:, None] == tokens[None]).all(dim=2) & ~torch.eye(n, dtype=torch.bool)
    logits = logits.masked_fill(equal, -torch.inf)
    target = torch.arange(n)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def _write_merges(path: Path) -> None:
    """The first merges of CLIP's tokenizer, in its own file format."""
    from open_clip.tokenizer import default_bpe

    lines = gzip.decompress(Path(default_bpe()).read_bytes()).decode("utf-8").split("\n")[: NUM_MERGES + 1]
    path.write_bytes(gzip.compress("\n".join(lines).encode("utf-8"), mtime=0))


def _tokens(captions: Sequence[str], merges: Path) -> torch.Tensor:
    from open_clip.tokenizer import SimpleTokenizer

    tokens: torch.Tensor = SimpleTokenizer(bpe_path=str(merges), context_length=CONTEXT)(list(captions))
    for index, caption in enumerate(captions):
        if not caption:
            tokens[index, 0] = 0
    return tokens


def _save(out: Path, state: dict[str, torch.Tensor]) -> None:
    import torch
    from safetensors.torch import save_file

    plain = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}
    save_file(plain, out / WEIGHTS, metadata={"format": "pt"})
    assert all(bool(torch.isfinite(v).all()) for v in plain.values() if v.is_floating_point())
    config = {"model_cfg": model_config(), "preprocess_cfg": preprocess_config()}
    (out / CONFIG).write_text(json.dumps(config, indent=1), "utf-8")


def _write_manifest(out: Path, recipe: EncoderRecipe, images: TrainingImages, drawings: Sequence[Path]) -> None:
    files = {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in (WEIGHTS, CONFIG, MERGES, CALIBRATION)}
    manifest = {
        "recipe": recipe.to_dict(), "planted_version": PLANTED_VERSION,
        "stages": {name: asdict(stage) for name, stage in recipe.stages.items()}, "mild": asdict(MILD),
        "tau": TAU, "entropy_weight": ENTROPY_WEIGHT, "text_weight": TEXT_WEIGHT,
        "margin_cosines": [COPY_COSINE, STRANGER_COSINE], "edit_share": EDIT_SHARE,
        "pictures": {kind: int((images.kind == kind).sum()) for kind in KINDS},
        "drawings": sorted(folder.name for folder in drawings),
        "sha256": files,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "open_clip_torch", "numpy", "pillow")},
        },
    }  # fmt: skip
    (out / MANIFEST).write_text(json.dumps(manifest, indent=1), "utf-8")
