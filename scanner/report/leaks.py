"""What other sets have in common with this one: test images that are trained on, images that should be gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from scanner.core.config import ImagesConfig
from scanner.core.errors import ScannerError
from scanner.core.progress import Bar
from scanner.core.sql import connect, query_rows
from scanner.core.store import Store
from scanner.report.frames import NOT_READ, WIDE_FRAME, frame
from scanner.report.gallery import TEXT_LIMIT
from scanner.report.markup import Html, element, foreign, join, plain
from scanner.report.numbers import count, counted, share, similarity
from scanner.report.tables import columns, command, rest, table
from scanner.report.thumbnails import Thumbnail, find_images, make_thumbnails
from scanner.sources.base import Source

NUM_PAIRS = 12
"""Pairs shown of each other set."""
MAX_SETS = 20
"""Other sets of which pairs are shown."""
CAPTION_LIMIT = 160
ROLES = {"eval": "not to be trained on", "takedown": "to be taken down"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedSet:
    """A row of ``report/compared_sets``: another set and how many of its images this one holds, by their strongest kind."""

    other: str
    role: str
    form: str
    num_left: int
    num_right: int
    num_right_unusable: int
    threshold: float | None
    max_hash_distance: int | None
    at: str
    num_right_found: int
    num_exact: int
    num_near: int
    num_semantic: int
    num_unverified: int
    num_left_found: int
    num_pairs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LeakPair:
    """A row of ``report/leak_pairs``: an image of another set, the image here that is most like it, and how many more are."""

    right_dataset: str
    position: int
    left_id: int
    right_id: int
    right_key: str
    role: str
    similarity: float | None
    hash_distance: int | None
    kind: str
    confidence: float | None
    num_left: int
    left_dataset: str
    left_shard: str
    left_key: str
    left_caption: str | None
    right_caption: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaks:
    """Of all sets that the run was compared with; ``right`` holds thumbnails of the other sets' images, by set and image_id."""

    sets: tuple[ComparedSet, ...]
    pairs: tuple[LeakPair, ...]
    right: Mapping[tuple[str, int], Thumbnail] = field(default_factory=dict)

    @property
    def image_ids(self) -> list[int]:
        """Images of this run that are shown."""
        return list(dict.fromkeys(pair.left_id for pair in self.pairs))


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherSet:
    """Another run and those of its sources that are at hand, by dataset."""

    store: Store
    sources: Mapping[str, Source]


def read_leaks(store: Store) -> Leaks | None:
    """None where the run was compared with nothing."""
    if store.manifest("comparisons") is None or store.manifest("leaks") is None:
        return None
    with connect(store) as connection:
        sets = tuple(ComparedSet(**row) for row in query_rows(connection, "report/compared_sets"))
        rows = query_rows(connection, "report/leak_pairs", {"limit": NUM_PAIRS})
    if not sets:
        return None
    chosen = {compared.other for compared in sets[:MAX_SETS]}
    return Leaks(sets=sets, pairs=tuple(LeakPair(**row) for row in rows if row["right_dataset"] in chosen))


def show_others(
    leaks: Leaks, others: Mapping[str, OtherSet], limits: ImagesConfig, *, workers: int, bar: Bar
) -> Leaks:  # fmt: skip
    """With captions and thumbnails of the other sets' images, of those sets that can be read."""
    right: dict[tuple[str, int], Thumbnail] = {}
    captions: dict[tuple[str, int], str | None] = {}
    for name, other in others.items():
        ids = [pair.right_id for pair in leaks.pairs if pair.right_dataset == name]
        try:
            with connect(other.store) as connection:
                images = find_images(connection, ids)
        except ScannerError:
            continue  # a run that is no longer whole: its images are named by their keys
        files = [image.file for image in images.values()]
        made = make_thumbnails(files, other.sources, limits, workers=workers, bar=bar) if files else {}
        right |= {(name, id_): thumbnail for id_, thumbnail in made.items()}
        captions |= {(name, id_): image.caption for id_, image in images.items()}
    pairs = tuple(replace(pair, right_caption=captions.get((pair.right_dataset, pair.right_id))) for pair in leaks.pairs)
    return replace(leaks, pairs=pairs, right=right)


def leakage(leaks: Leaks, thumbnails: Mapping[int, Thumbnail]) -> Html:
    """The sets as a table, then the pairs of each, image beside image."""
    how = (
        "What stands in both sets: of each image there, the one here that is most like it. Test images that are trained on spoil "
        "the test; images on a list of what must go have to be found in every altered copy."
    )
    shown = [_pairs(compared, leaks, thumbnails) for compared in leaks.sets[:MAX_SETS]]
    more = None
    if len(leaks.sets) > MAX_SETS:
        more = element("p", f"Pairs are shown of {MAX_SETS} of {count(len(leaks.sets))} sets. ", _all_pairs(1000), class_="rest")
    return join([element("p", how), _sets(leaks.sets), *shown, more])


def _sets(sets: tuple[ComparedSet, ...]) -> Html:
    rows = [
        (
            foreign(compared.other, limit=TEXT_LIMIT),
            ROLES.get(compared.role, compared.role),
            count(compared.num_right),
            count(compared.num_right_found),
            share(compared.num_right_found, compared.num_right),
            count(compared.num_exact),
            count(compared.num_near),
            count(compared.num_semantic),
            count(compared.num_unverified),
            count(compared.num_left_found),
            _limit(compared),
        )
        for compared in sets
    ]
    heads = columns(
        "Other set", "Its images are", "#Its images", "#Found here", "#Share", "#Exact", "#Near", "#Semantic", "#Unverified",
        "#Images here", "Compared by",
    )  # fmt: skip
    source = element("p", command("report/compared_sets"), class_="rest")
    made = table(heads, rows, caption="Other sets, and how many of their images this one holds")
    return element("div", made, source, class_="panel")


def _limit(compared: ComparedSet) -> str:
    if compared.form == "hashes":
        bits = "" if compared.max_hash_distance is None else f", up to {counted(compared.max_hash_distance, 'bit')} apart"
        return f"perceptual hashes{bits}"
    cosine = "" if compared.threshold is None else f", from cosine {compared.threshold:g}"
    return f"embeddings and pixels{cosine}"


def _pairs(compared: ComparedSet, leaks: Leaks, thumbnails: Mapping[int, Thumbnail]) -> Html:
    name = foreign(compared.other, limit=TEXT_LIMIT)
    pairs = [pair for pair in leaks.pairs if pair.right_dataset == compared.other]
    heading = element("h3", name, ": ", counted(compared.num_right_found, "image"), " found here")
    if not pairs:
        none = f"None of its {counted(compared.num_right, 'image')} is here."
        return element("div", heading, element("p", none, class_="rest"), class_="set")
    cards = join(element("li", _pair(pair, compared, leaks, thumbnails)) for pair in pairs)
    note = rest(
        len(pairs), compared.num_right_found, "images, strongest kind first",
        f"report/leak_pairs --param limit={compared.num_right_found}",
    )  # fmt: skip
    return element("div", heading, element("ul", cards, class_="twins"), note, class_="set")


def _pair(pair: LeakPair, compared: ComparedSet, leaks: Leaks, thumbnails: Mapping[int, Thumbnail]) -> Html:
    if pair.similarity is not None:
        near = f"similarity {similarity(pair.similarity)}"
    else:
        near = "" if pair.hash_distance is None else f"hashes {counted(pair.hash_distance, 'bit')} apart"
    more = f"; {count(pair.num_left)} images here show it" if pair.num_left > 1 else ""
    head = element("p", element("span", pair.kind, class_="tag"), " ", near, more, class_="how")
    unread = "known by its hash alone" if compared.form == "hashes" else "the other set is not at hand"
    there = leaks.right.get((pair.right_dataset, pair.right_id))
    sides = [
        _side("here", thumbnails.get(pair.left_id, NOT_READ), pair.left_key, pair.left_caption),
        _side("there", there or Thumbnail(reason=unread), pair.right_key, pair.right_caption, has_caption=there is not None),
    ]
    return join([head, element("div", join(sides), class_="sides")])


def _side(where: str, thumbnail: Thumbnail, key: str, caption: str | None, *, has_caption: bool = True) -> Html:
    lines = element(
        "figcaption", element("b", where), " ", element("span", foreign(key, limit=60), class_="key"),
        element("br") if has_caption else None, foreign(caption, limit=CAPTION_LIMIT) if has_caption else None,
    )  # fmt: skip
    alt = f"Image {where}: {plain(key, limit=TEXT_LIMIT)}"
    return element("figure", frame(thumbnail, alt=alt, side=WIDE_FRAME), lines, class_="wide")


def _all_pairs(limit: int) -> Html:
    return command(f"report/leak_pairs --param limit={limit}")
