"""Generations held against the whole training set: candidates by embedding, distances by pixels.

A caption is often not the key to what comes out (Somepalli et al. 2023a, section 7), so nothing is taken for granted: every
generation is compared with what is most like it in the set, and with the caption's own images besides. Distance to a picture is
the smallest to any of its files, as they are or once through the model's autoencoder, which is as close as a generation can come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.extract.library import Library
from scanner.images.distances import NUM_NEIGHBORS, adaptive_ratio, all_l2, nearest_of, tiled_l2, unit
from scanner.images.geometry import fit
from scanner.models.encoders import Encoder
from scanner.models.generators import PromptedGenerator

NUM_CANDIDATES = 100
"""Pictures that the generations of one prompt are compared with pixel by pixel: twice what the ratio needs."""
NUM_EACH = 32
"""Of them those that one generation brings in, at most."""
NUM_ROUND_TRIPS = 2
"""Nearest pictures of each generation that are compared once through the autoencoder too."""
ROUND_TRIP_RATIO = 0.75
"""Ratio, of plain distances, up to which an autoencoder is asked. It takes a few hundredths off, and limits lie near 0.5: what is
farther away is not worth the passes. Controls are treated alike."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Matches:
    """The nearest training picture of each of n generations of one prompt.

    Attributes:
        picture: int64 (n,) position in the library; -1 where there is nothing to compare with.
        image_id: int64 (n,) the file of that picture that is nearest.
        l2, tiled_l2: float32 (n,) to it; the tiled one to it or once through the autoencoder, whichever is smaller.
        l2_vae: float32 (n,) to it once through the autoencoder.
        ratio: float32 (n,) smaller of l2 and l2_vae over the mean l2 to the next 50 pictures (Carlini et al. 2023, section 5.1,
            with alpha = 1).
        cosine: float32 (n,) of the embeddings.
        candidates: int64 (c,) positions of all pictures compared.
        candidate_ids: int64 (c,) image ids of them.
        candidate_pixels: uint8 (c, h, w, 3) of them.
    """

    picture: NDArray[np.int64]
    image_id: NDArray[np.int64]
    l2: NDArray[np.float32]
    l2_vae: NDArray[np.float32]
    tiled_l2: NDArray[np.float32]
    ratio: NDArray[np.float32]
    cosine: NDArray[np.float32]
    candidates: NDArray[np.int64]
    candidate_ids: NDArray[np.int64]
    candidate_pixels: NDArray[np.uint8]

    @property
    def distance(self) -> NDArray[np.float32]:
        """The smaller of l2 and l2_vae."""
        return np.minimum(self.l2, self.l2_vae)


class Matcher:
    """Compares; what it reads is kept by the library.

    Args:
        num_candidates: pictures a prompt.
    """

    def __init__(
        self, library: Library, encoder: Encoder, generator: PromptedGenerator, *, num_candidates: int = NUM_CANDIDATES
    ) -> None:
        self.library, self.encoder, self.generator = library, encoder, generator
        self.num_candidates = num_candidates

    def match(self, images: Sequence[NDArray[np.uint8]], own: Sequence[NDArray[np.int64]]) -> list[Matches]:
        """Of several prompts, in one pass over the embeddings.

        Args:
            images: of each prompt its generations, uint8 (n, h, w, 3), n > 0, of the library's size.
            own: of each prompt the positions of its own pictures, compared whatever their embeddings say.
        """
        if not images:
            return []
        vectors = self.encode(np.concatenate(images))
        where, cosine = self.library.nearest(vectors, NUM_EACH)
        found, start = [], 0
        for one, mine in zip(images, own, strict=True):
            rows = slice(start, start + len(one))
            start += len(one)
            found.append(self._match(one, self._candidates(where[rows], cosine[rows], mine), where[rows], cosine[rows]))
        return found

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Unit vectors (n, dim) of images (n, h, w, 3), as the scan would embed them."""
        step = 64
        pixels = [fit(image, self.encoder.preprocess) for image in images]
        blocks = [self.encoder.encode(np.stack(pixels[i : i + step])) for i in range(0, len(pixels), step)]
        return np.concatenate(blocks)

    def _candidates(self, where: NDArray[np.int64], cosine: NDArray[np.float32], own: NDArray[np.int64]) -> NDArray[np.int64]:
        """The pictures of highest cosine to any generation, own ones first."""
        order = np.argsort(-cosine.ravel(), kind="stable")
        ranked = where.ravel()[order]
        _, first = np.unique(ranked, return_index=True)
        best = ranked[np.sort(first)]
        own = own[: self.num_candidates // 2]
        others = best[~np.isin(best, own)][: self.num_candidates - len(own)]
        return np.concatenate([own, others]).astype(np.int64)

    def _match(
        self,
        images: NDArray[np.uint8],
        candidates: NDArray[np.int64],
        where: NDArray[np.int64],
        cosine: NDArray[np.float32],
    ) -> Matches:
        files = self.library.files_of(candidates.tolist())
        ids = np.concatenate([np.empty(0, np.int64), *files])
        owner = np.repeat(np.arange(len(candidates)), [len(one) for one in files])
        pixels = self.library.pixels(ids.tolist())
        readable = np.array([i for i, one in enumerate(pixels) if one is not None], np.int64)
        if not len(readable):
            return _nothing(len(images), images.shape[1:])
        ids, owner = ids[readable], owner[readable]
        stack = np.stack([one for one in pixels if one is not None])
        generated = unit(images)
        raw = all_l2(generated, unit(stack))
        back = self._round_trips(raw, ids, owner, stack)
        vae = np.full_like(raw, np.inf)
        if back:
            vae[:, list(back)] = all_l2(generated, unit(np.stack(list(back.values()))))
        closest = np.minimum(raw, vae)

        to_picture, pictures = nearest_of(closest, owner)
        to_picture_raw, _ = nearest_of(raw, owner)
        nearest = to_picture.argmin(axis=1)
        rows = np.arange(len(images))
        # What surrounds the nearest is compared as it is: an autoencoder was asked for the nearest only.
        surroundings = to_picture_raw.copy()
        surroundings[rows, nearest] = to_picture[rows, nearest]
        ratio, _ = adaptive_ratio(surroundings, n=NUM_NEIGHBORS, alpha=1)
        file = np.where(owner[None] == pictures[nearest][:, None], closest, np.inf).argmin(axis=1)
        tiled = tiled_l2(generated, unit(stack[file]))
        through = np.array([column in back for column in file.tolist()])
        if through.any():
            tripped = np.stack([back[column] for column in file[through].tolist()])
            tiled[through] = np.minimum(tiled[through], tiled_l2(generated[through], unit(tripped)))
        picture = candidates[pictures[nearest]]
        similarity = np.where(where == picture[:, None], cosine, -np.inf).max(axis=1)
        first_file = np.unique(owner, return_index=True)[1]
        return Matches(
            picture=picture, image_id=ids[file], l2=raw[rows, file], l2_vae=vae[rows, file], tiled_l2=tiled, ratio=ratio,
            cosine=np.where(np.isfinite(similarity), similarity, np.nan).astype(np.float32),
            candidates=candidates[pictures], candidate_ids=ids[first_file], candidate_pixels=stack[first_file],
        )  # fmt: skip

    def _round_trips(
        self, raw: NDArray[np.float32], ids: NDArray[np.int64], owner: NDArray[np.int64], stack: NDArray[np.uint8]
    ) -> dict[int, NDArray[np.uint8]]:
        """Columns of the nearest file of each generation's nearest pictures, once through the autoencoder."""
        columns: set[int] = set()
        plain, _ = adaptive_ratio(nearest_of(raw, owner)[0], n=NUM_NEIGHBORS, alpha=1)
        for row in raw[plain <= ROUND_TRIP_RATIO]:
            order = np.argsort(row, kind="stable")
            _, first = np.unique(owner[order], return_index=True)
            columns.update(order[np.sort(first)[:NUM_ROUND_TRIPS]].tolist())
        wanted = sorted(columns)
        column_of = {-1 - int(ids[column]): column for column in wanted}

        def trip(keys: list[int]) -> dict[int, NDArray[np.uint8] | None]:
            images = self.generator.round_trip(stack[[column_of[key] for key in keys]])
            return dict(zip(keys, images, strict=True))

        trips = self.library.cached(list(column_of), trip)
        return {column: image for column, image in zip(wanted, trips, strict=True) if image is not None}


def _nothing(n: int, shape: tuple[int, ...]) -> Matches:
    none = np.full(n, np.nan, np.float32)
    return Matches(
        picture=np.full(n, -1), image_id=np.full(n, -1), l2=none, l2_vae=none, tiled_l2=none, ratio=none, cosine=none,
        candidates=np.empty(0, np.int64), candidate_ids=np.empty(0, np.int64), candidate_pixels=np.empty((0, *shape), np.uint8),
    )  # fmt: skip
