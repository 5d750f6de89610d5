"""Every table of a run: grain, key, and one line a column. ``scanner tables`` prints what stands here.

Types are Arrow type names, so that reading the schema does not import pyarrow; ``arrow_schema`` turns them into the schema
that ``pyarrow.Table.cast`` checks before each write.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

ARROW_TO_SQL = {
    "int64": "BIGINT", "int32": "INTEGER", "uint64": "UBIGINT", "float32": "FLOAT", "float64": "DOUBLE",
    "string": "VARCHAR", "bool": "BOOLEAN", "binary": "BLOB", "binary(32)": "BLOB", "embedding": "BLOB",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column: its Arrow type by name, and a sentence on what it holds and in which unit."""

    name: str
    type: str
    doc: str
    is_nullable: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSchema:
    """One table: what a row stands for, what makes it unique, and the version that its fingerprints carry."""

    name: str
    grain: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    version: int = 1

    @property
    def column_names(self) -> list[str]:
        return [column.name for column in self.columns]


def _column(name: str, type_: str, doc: str) -> Column:
    """``type_`` ends in ``?`` where the column may be null."""
    return Column(name=name, type=type_.rstrip("?"), doc=doc, is_nullable=type_.endswith("?"))


def _table(name: str, grain: str, key: str, *columns: tuple[str, str, str]) -> TableSchema:
    return TableSchema(name=name, grain=grain, key=tuple(key.split()), columns=tuple(_column(*c) for c in columns))


_ALL = (
    _table(
        "shards", "one row per source shard, the superseded ones included", "shard_id",
        ("shard_id", "int64", "given once, in order of first sight, never reused"),
        ("dataset", "string", "name of the source in run.yaml"),
        ("url", "string", "path relative to the root of the source"),
        ("size", "int64", "bytes"),
        ("etag", "string?", "the store's etag; for local files made of the modification time"),
        ("part", "int64", "index of the images and embeddings part that holds the shard's rows"),
        ("num_rows", "int64?", "rows of images that came from it; null until it was read"),
        ("status", "string", "current, broken (ends early, readable rows kept) or superseded (changed or gone: no rows)"),
        ("error_message", "string?", "why it is broken or superseded"),
    ),
    _table(
        "images", "one row per sample seen in the source, readable or not", "image_id",
        ("image_id", "int64", "shard_id << 24 | row in the shard"),
        ("dataset", "string", "name of the source in run.yaml"),
        ("key", "string", "the sample's name in its shard; not unique across shards"),
        ("url", "string?", "where the image was published, if the source says so"),
        ("caption", "string?", "the text that a model is trained on with the image"),
        ("sha256", "binary(32)?", "digest of the image file; of the file as downloaded where img2dataset recorded it"),
        ("phash", "uint64?", "64-bit perceptual hash (DCT); compare by Hamming distance"),
        ("width", "int64?", "pixels"),
        ("height", "int64?", "pixels"),
        ("num_bytes", "int64?", "size of the image file in bytes"),
        ("byte_offset", "int64?", "where the image file starts in its shard, if a ranged read can fetch it"),
        ("is_blank", "bool?", "near-constant image: a placeholder, never a risk"),
        ("status", "string", "ok, unreadable, too_small, too_large or missing"),
        ("error_message", "string?", "why the image is not ok"),
    ),
    _table(
        "embeddings", "one row per image with status ok", "image_id",
        ("image_id", "int64", "the image"),
        ("embedding", "embedding", "unit vector as dim little-endian float16; SQL: vec(embedding) gives a list"),
    ),
    _table(
        "neighbors", "one row per embedded image", "image_id",
        ("image_id", "int64", "the image"),
        ("num_neighbors", "int64", "other images within the threshold: the duplicate count of Carlini et al. 2023, section 4.2; "
                                   "a lower bound where the search is cells or faiss-ivf, with the recall in table audit"),
        ("nearest_id", "int64?", "the most similar other image within the threshold"),
        ("nearest_similarity", "float32?", "its cosine"),
        ("outlier_score", "float32", "1 - cosine to the nearest cell centre (k-means); high = far from all"),
    ),
    _table(
        "pairs", "one row per link that spans a group (or per pair, by option)", "left_id right_id",
        ("left_id", "int64", "the smaller image_id"),
        ("right_id", "int64", "the larger image_id"),
        ("similarity", "float32", "cosine of the two embeddings"),
        ("is_spanning", "bool", "kept to span a group: the links of a maximum spanning forest"),
    ),
    _table(
        "links", "one row per link of the maximum spanning forest at the lowest swept threshold", "left_id right_id",
        ("left_id", "int64", "the smaller image_id"),
        ("right_id", "int64", "the larger image_id"),
        ("similarity", "float32", "cosine of the two embeddings; 1 for exact copies (equal bytes or equal embeddings)"),
    ),
    _table(
        "candidates", "one row per image in a component of two or more", "image_id",
        ("image_id", "int64", "the image"),
        ("group_id", "int64", "smallest image_id of the component"),
        ("is_representative", "bool", "the member that others are compared with: best resolution, longest caption, lowest id"),
        ("similarity_to_representative", "float32", "cosine; low values tell of chains"),
        ("is_exact", "bool", "bytes equal to the representative's, as its digest says, and the embedding does not contradict it"),
    ),
    _table(
        "groups", "one row per image in a group of two or more", "image_id",
        ("image_id", "int64", "the image"),
        ("group_id", "int64", "smallest image_id of the group"),
        ("is_representative", "bool", "the member that is kept: best resolution, then longest caption, then lowest id"),
        ("similarity_to_representative", "float32", "cosine; low values tell of chains"),
        ("kind", "string", "exact (bytes or pixels equal to the representative's), near (the same picture altered), semantic "
                           "(another picture in the same template) or unverified (only the search has looked)"),
        ("confidence", "float32?", "of the kind, in [0, 1]; null where nothing but the search has looked"),
    ),
    _table(
        "candidate_shape", "one row per group that the search made", "group_id",
        ("group_id", "int64", "the group"),
        ("diameter_similarity", "float32", "smallest cosine found between two members, by two sweeps; the true one may be lower"),
        ("left_id", "int64", "one of those two members, the smaller image_id"),
        ("right_id", "int64", "the other"),
    ),
    _table(
        "group_evidence", "one row per group", "group_id",
        ("group_id", "int64", "the group"),
        ("candidate_id", "int64", "group_id in candidates that it was, or was split from"),
        ("class", "string", "picture, blank, placeholder, template, text or vector_graphic"),
        ("is_protected", "bool", "blank, placeholder, template, text or vector_graphic: never to be deleted without being told"),
        ("num_images", "int64", "images of the group"),
        ("num_files", "int64", "different files among them"),
        ("num_semantic", "int64", "images that are another picture in the same template"),
        ("num_unverified", "int64", "images that only the search has compared: not read again, or beyond verify.max_rounds"),
        ("num_refuted", "int64", "images of the candidate group that are another picture than this representative"),
        ("is_truncated", "bool", "verify.max_rounds ended the comparison: these members were not compared with one another"),
        ("max_distance", "float32?", "largest pixel distance of a member of kind near: 0 equal, about 1.4 unrelated"),
        ("max_phash_distance", "int64?", "largest Hamming distance of perceptual hashes to the representative's, in bits of 64"),
        ("varying_share", "float32?", "share of the area in which members of the template differ from the representative"),
        ("varying_mask", "binary(32)?", "that region: 16 x 16 cells, rows from the top, the leftmost cell the highest bit"),
        ("ground_share", "float32?", "share of the representative covered by one colour or one slow gradient"),
        ("text_share", "float32?", "share of what stands on that ground that is in lines of lettering"),
        ("num_text_lines", "int64?", "lines of lettering"),
        ("flat_share", "float32?", "share of the representative without local variation"),
        ("num_colors", "int64?", "colours of its flat area"),
        ("saturation", "float32?", "mean saturation of the representative, in [0, 1]"),
        ("caption_likeness", "float32?", "mean share of words that two captions of the group have in common; null without two"),
    ),
    _table(
        "audit", "one row per measure and band of similarity: what the last search missed, by brute force on sampled images",
        "measure band",
        ("measure", "string", "neighbors (pairs that the search counted) or links (pairs whose images ended in one component)"),
        ("band", "string", "all, or similarities from-to; neighbours nearer to the threshold are missed sooner"),
        ("similarity_low", "float64", "cosine, at or above"),
        ("similarity_high", "float64?", "cosine, below; null: no upper end"),
        ("num_rows_sampled", "int64", "distinct images compared with all others"),
        ("num_rows", "int64", "of them those with a true pair in the band"),
        ("num_pairs", "int64", "true pairs of theirs in the band"),
        ("recall", "float64?", "share of its true pairs that an image found, in the mean over images; null without any"),
        ("recall_low", "float64", "lower end of its 95 % interval over images; 0 without any"),
        ("recall_high", "float64", "upper end; 1 without any"),
    ),
    _table(
        "thresholds", "one row per swept threshold", "threshold",
        ("threshold", "float64", "cosine"),
        ("num_groups", "int64", "connected components of two or more, whatever the linkage"),
        ("num_grouped", "int64", "images in them"),
        ("largest_group", "int64", "images in the largest"),
        ("num_pairs", "int64", "pairs of images at or above the threshold, exact copies counted"),
    ),
    _table(
        "group_risk", "one row per group", "group_id",
        ("group_id", "int64", "the group"),
        ("representative_id", "int64", "the member that is kept"),
        ("num_images", "int64", "images of the group: its duplicate count"),
        ("num_exact", "int64", "of them byte-equal to the representative, itself included"),
        ("num_distinct_captions", "int64", "different captions among them"),
        ("caption_agreement", "float64?", "share of its captioned images with the commonest caption; null without captions"),
        ("num_hosts", "int64", "different hosts among their urls"),
        ("class", "string", "picture, blank, placeholder, template, text or vector_graphic: see group_evidence"),
        ("risk_score", "float64", "expected probability of extraction, from the prior curve in run.yaml; 0 for blanks"),
        ("risk_rank", "int64?", "1 = first to try; null for blanks"),
    ),
    _table(
        "group_captions", "one row per group and caption: the unit of risk", "group_id caption_hash",
        ("group_id", "int64", "the group"),
        ("caption_hash", "int64", "63 bits of sha256 of the exact text: the prompt_id of the caption as a prompt"),
        ("caption", "string", "the exact text"),
        ("num_images", "int64", "images of the group that carry it"),
        ("num_hosts", "int64", "different hosts among their urls"),
        ("caption_family", "string?", "the mask it shares with captions of at least 5 groups, e.g. '* t-shirt size #'"),
    ),
    _table(
        "prompts", "one row per prompt and lane: all that extraction will ever try", "prompt_id lane",
        ("prompt_id", "int64", "63 bits of sha256 of the exact text"),
        ("lane", "string", "why it is tried: duplicate, template (a family's), outlier (no duplicate, far from all), calibration "
                           "(random, stratified by num_images) or control (should give nothing)"),
        ("prompt", "string", "the exact text"),
        ("group_id", "int64?", "the group it is aimed at: the riskiest that carries it"),
        ("num_images", "int64", "images of that group; 1 without a group, 0 where no image of the set has the caption"),
        ("num_caption_images", "int64", "of them those that carry this caption"),
        ("sampling_weight", "float64", "1 / probability that the lane took it; 1 = taken for certain"),
        ("risk_rank", "int64?", "1 = first to try in its lane; null where the lane is drawn at random"),
    ),
    _table(
        "prompt_scores", "one row per model, prompt and prefilter: cheap, for the order of work, never evidence",
        "model_id prompt_id score_name",
        ("model_id", "string", "digest of the model's weights and configs"),
        ("prompt_id", "int64", "the prompt"),
        ("score_name", "string", "noise_magnitude (Wen et al. 2024) or denoising_confidence (Webster 2023), at the first step"),
        ("score", "float64", "mean over seeds; higher = memorized more likely; comparable within a model and its settings"),
        ("num_forward_passes", "int64", "passes beyond those of earlier scores; shared ones fall to the first prompt"),
    ),
    _table(
        "generations", "one row per generated image", "generation_id",
        ("generation_id", "int64", "63 bits of sha256 of model, prompt, seed and settings"),
        ("model_id", "string", "digest of the model's weights and configs"),
        ("prompt_id", "int64", "the prompt"),
        ("seed", "int64", "of its noise"),
        ("scheduler", "string", "sampler, such as ddim"),
        ("num_inference_steps", "int64", "of the sampler"),
        ("guidance_scale", "float64", "of classifier-free guidance; 1 = the prompt alone"),
        ("image_path", "string?", "PNG relative to the run; null where it was not kept: scanner replay makes it again"),
        ("num_forward_passes", "int64", "evaluations of the network"),
    ),
    _table(
        "matches", "one row per generation, training image and distance: the nearest image of each generation of a clique",
        "generation_id image_id distance_name",
        ("generation_id", "int64", "the generation"),
        ("image_id", "int64", "the training image"),
        ("distance_name", "string", "l2 or tiled_l2 (to the image), l2_vae (to the image once through the model's autoencoder), "
                                    "ratio (l2, or l2_vae where smaller, over the mean l2 to the 50 nearest other pictures), "
                                    "masked_l2 and masked_ratio (within the mask of a template), cosine (of the run's encoder)"),
        ("distance", "float64", "root mean square of pixels in [0, 1]; ratio and cosine are plain numbers"),
        ("mask_share", "float64?", "share of the area that is compared; null: all of it"),
    ),
    _table(
        "extractions", "one row per model and prompt tried", "model_id prompt_id",
        ("model_id", "string", "digest of the model's weights and configs"),
        ("prompt_id", "int64", "the prompt"),
        ("num_generations", "int64", "images that were generated"),
        ("num_forward_passes", "int64", "what they cost, in evaluations of the network; the prefilter's are in prompt_scores"),
        ("stop_reason", "string", "verdict, futility (a rate worth finding would have shown), max_generations, or rejected "
                                  "(by the prefilter: nothing was generated)"),
        ("is_escalated", "bool", "the prefilter let it pass"),
        ("is_audited", "bool", "rejected by the prefilter and confirmed all the same, drawn at random"),
        ("control_use", "string?", "of controls: limits (its distances set them) or rates (it measures what passes); else null"),
        ("clique_size", "int64", "largest set of mutually close generations; a lower bound where they are many and blurred"),
        ("clique_size_asked", "int64", "what a verdict needs at this number of generations"),
        ("clique_diameter", "float64?", "largest tiled l2 within it; null below two"),
        ("num_matching", "int64", "generations within the tier and the ratio of one picture: the one that most came near to"),
        ("image_id", "int64?", "nearest training image of the clique's medoid"),
        ("image_group_id", "int64?", "its group"),
        ("is_own", "bool?", "the caption stands beside that image or another of its group"),
        ("l2", "float64?", "medoid to that image"),
        ("l2_vae", "float64?", "medoid to that image once through the model's autoencoder; null without one"),
        ("tiled_l2", "float64?", "largest l2 among 16 tiles, to the image or once through the autoencoder"),
        ("ratio", "float64?", "smaller of l2 and l2_vae over the mean l2 to the 50 nearest other pictures"),
        ("ratio_limit", "float64", "what a verdict needs: a quantile of this run's controls"),
        ("similarity", "float64?", "cosine of medoid and image by the run's encoder: a copy-detection similarity"),
        ("mask", "binary(32)?", "of a template: what is the same in training images and generations, 16 x 16 cells, rows "
                                "from the top, the leftmost cell the highest bit"),
        ("mask_share", "float64?", "share of the area in the mask"),
        ("masked_l2", "float64?", "medoid to that image within the mask"),
        ("masked_ratio", "float64?", "masked_l2 over its mean to the 50 nearest pictures that are not of the template"),
        ("tier", "string?", "strict (l2 at most 0.113, Webster 2023) or standard (0.15, Carlini et al. 2023); null above"),
        ("verdict", "string", "none, suspected (a clique without a match, or a match without a clique), template, retrieved (an "
                              "image that does not carry the caption) or extracted"),
    ),
    _table(
        "reviews", "one row per model, prompt and reviewer: what a person saw", "model_id prompt_id reviewer",
        ("model_id", "string", "digest of the model's weights and configs"),
        ("prompt_id", "int64", "the prompt"),
        ("reviewer", "string", "who looked"),
        ("verdict", "string", "none, suspected, template, retrieved or extracted"),
        ("comment", "string", "free text"),
        ("at", "string", "when, ISO 8601 in UTC"),
    ),
    _table(
        "comparisons", "one row per other set that the run was compared with: no row means that nobody looked", "other",
        ("other", "string", "name of the other set: the right_dataset of leaks"),
        ("role", "string", "eval (must not be trained on) or takedown (must go)"),
        ("form", "string", "run (images, by embedding and pixels) or hashes (perceptual hashes alone)"),
        ("url", "string", "where it lies, without secrets"),
        ("num_left", "int64", "images of this run that took part"),
        ("num_right", "int64", "images or hashes of the other set that took part"),
        ("num_right_unusable", "int64", "images or lines of the other set that could not take part"),
        ("threshold", "float64?", "cosine from which pairs were looked at; null for hashes"),
        ("max_hash_distance", "int64?", "bits within which hashes count as equal; null for runs"),
        ("at", "string", "date and time, UTC, ISO 8601"),
    ),
    _table(
        "leaks", "one row per image of this run and image of another set that it shows too", "left_id right_dataset right_id",
        ("left_dataset", "string", "dataset of the image in this run"),
        ("left_id", "int64", "image_id in this run"),
        ("right_dataset", "string", "name of the other set, as in comparisons"),
        ("right_id", "int64", "image_id in the other run; the line of the hash, from 1"),
        ("right_key", "string", "the other image's key; the hash as it was given"),
        ("role", "string", "eval or takedown, as in comparisons"),
        ("similarity", "float32?", "cosine of the embeddings; null where only hashes were compared"),
        ("hash_distance", "int64?", "Hamming distance in bits; null where images were compared"),
        ("kind", "string", "exact, near or semantic, as for groups; unverified where no pixels could be compared"),
        ("confidence", "float32?", "of kind near, as for groups; null otherwise"),
    ),
    _table(
        "keep", "one row per image of the run that was exported", "image_id",
        ("image_id", "int64", "the image"),
        ("is_kept", "bool", "whether it stays in the set"),
        ("sample_weight", "float64", "weight in training; 0 where it is removed"),
        ("rule", "string?", "the rule that removed it, or that kept it against another; null where none applied"),
        ("because_of", "int64?", "image_id of the image that stays in its place; null where it was removed for itself"),
        ("similarity", "float32?", "cosine to that image; null without one"),
    ),
)  # fmt: skip

TABLES: dict[str, TableSchema] = {table.name: table for table in _ALL}

EMPTY_UNTIL_WRITTEN = frozenset({"reviews"})
"""Tables whose absence says what their emptiness says: nobody reviewed anything. Queries see them empty."""

_STAGES = (
    ("embed", "scan", "shards images embeddings"),
    ("neighbors", "scan", "links pairs candidates candidate_shape thresholds neighbors audit"),
    ("verify", "scan", "groups group_evidence"),
    ("risk", "scan", "group_captions group_risk prompts"),
    ("extract", "extract", "prompt_scores generations matches extractions"),
    ("review", "review", "reviews"),
    ("leak", "leak", "comparisons leaks"),
    ("export", "export", "keep"),
)
MADE_BY: dict[str, tuple[str, str]] = {table: (stage, command) for stage, command, made in _STAGES for table in made.split()}
"""Of every table the stage that makes it and the command of `scanner` that runs the stage."""


def arrow_schema(name: str, *, embedding_dim: int | None = None) -> pa.Schema:
    """Arrow schema of a table; ``embedding_dim`` fixes the width of an embedding column (2 bytes a dimension)."""
    import pyarrow as pa

    def arrow_type(type_: str) -> pa.DataType:
        if type_ == "embedding":
            assert embedding_dim, f"table {name} needs embedding_dim"
            return pa.binary(2 * embedding_dim)
        if type_ == "binary(32)":
            return pa.binary(32)
        return pa.type_for_alias(type_)

    return pa.schema(
        [pa.field(c.name, arrow_type(c.type), nullable=c.is_nullable) for c in TABLES[name].columns],
    )
