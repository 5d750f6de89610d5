"""What the bundled encoder learns from: the pictures of a planted set and the training series of the two sets of drawings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scanner.lab.drawings import read_images, read_index, squash
from scanner.lab.planted import PlantedSet, tar_images

if TYPE_CHECKING:
    import torch

KINDS = ("scene", "template", "openclipart", "noto")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mix:
    """What a batch is made of.

    Attributes:
        shares: of its sources, by kind; the rest, and the shares of kinds that are absent, are scenes.
        sisters: of one series, at most, by kind: sisters are the hard negatives.
    """

    shares: Mapping[str, float]
    sisters: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class TrainingImages:
    """Distinct pictures, no two with the same pixels.

    Attributes:
        pixels: uint8 (n, 3, s, s).
        captions: as the set gives them; empty where the caption does not describe the picture.
        series: int (n,); equal for a template family, a drawn series, else its own.
        kind: one of ``KINDS`` for each.
    """

    pixels: torch.Tensor
    captions: list[str]
    series: NDArray[np.int64]
    kind: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.captions)

    def batch(self, num_sources: int, mix: Mix, generator: torch.Generator) -> NDArray[np.int64]:
        """Indices of one batch: kinds by their shares, series drawn evenly, some sisters of each."""
        import torch

        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        chosen: list[int] = []
        for kind, members in self._members.items():
            if kind == "scene":
                continue
            wanted = round(mix.shares.get(kind, 0.0) * num_sources)
            taken: list[int] = []
            for index in rng.permutation(len(members)).tolist():
                if len(taken) >= wanted:
                    break
                sisters = members[index]
                taken += rng.permutation(sisters)[: mix.sisters[kind]].tolist()
            chosen += taken[:wanted]
        scenes = self._members["scene"]
        places = rng.choice(len(scenes), num_sources - len(chosen), replace=False)
        return np.array(chosen + [int(scenes[i][0]) for i in places], np.int64)

    @property
    def _members(self) -> dict[str, list[NDArray[np.int64]]]:
        """Of each kind, the indices of each series."""
        if "members" not in self.__dict__:
            found: dict[str, dict[int, list[int]]] = {}
            for index, (kind, series) in enumerate(zip(self.kind.tolist(), self.series.tolist(), strict=True)):
                found.setdefault(kind, {}).setdefault(series, []).append(index)
            members = {kind: [np.array(v, np.int64) for v in found[kind].values()] for kind in sorted(found)}
            object.__setattr__(self, "members", members)
        result: dict[str, list[NDArray[np.int64]]] = self.__dict__["members"]
        return result


def load_training_images(planted: PlantedSet, drawings: Sequence[Path], side: int) -> TrainingImages:
    """The source pictures of ``planted`` and split ``train`` of each folder of drawings, squashed to ``side`` pixels.

    Raises:
        SourceError: a folder is none of the two sets, or the planted set is not in tars.
    """
    import torch

    pixels: list[NDArray[np.uint8]] = []
    captions: list[str] = []
    series: list[str] = []
    kinds: list[str] = []
    truth = planted.read_truth().select(["key", "copy", "kind", "regime", "family", "caption"]).to_pylist()
    wanted = {row["key"]: row for row in truth if row["copy"] == 0 and row["kind"] in ("exact", "unique", "template", "outlier")}
    for key, image in tar_images(Path(planted.source_url)):
        if (row := wanted.get(key)) is None:
            continue
        is_template = row["kind"] == "template"
        pixels.append(squash(image.convert("RGB"), side))
        # Varied captions are wrapped in words that tell nothing; a trap's caption is of many pictures.
        captions.append("" if row["regime"] == "trap" else row["caption"])
        series.append(f"family {row['family']}" if is_template else key)
        kinds.append("template" if is_template else "scene")
    for folder in drawings:
        kind = "noto" if folder.name.startswith("noto") else "openclipart"
        index = {d.key: d for d in read_index(folder) if d.split == "train" and not d.is_blank and d.copy_of == d.key}
        for key, image in read_images(folder, list(index)):
            pixels.append(squash(image, side))
            captions.append(index[key].caption if kind == "noto" else "")
            series.append(f"{folder.name}/{index[key].series}")
            kinds.append(kind)
    stacked = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()
    numbers = np.unique(np.array(series), return_inverse=True)[1].astype(np.int64)
    return TrainingImages(pixels=stacked, captions=captions, series=numbers, kind=np.array(kinds))
