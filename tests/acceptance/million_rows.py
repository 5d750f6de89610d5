"""A run of 10^6 images made by SQL: 1,000 shards, 200,000 groups of 4, 10^5 captions, every fiftieth image missing."""

from __future__ import annotations

from scanner.core.schemas import arrow_schema
from scanner.core.store import Store

ID = "(({0} // 1000) << 24) + {0} % 1000"
"""The image_id of image {0}."""
GROUP = ID.format("(4 * g)")

TABLES = {
    "shards": """
        select i as shard_id, 'big' as dataset, 's' || i as url, 1 as size, null as etag, 0 as part, 1000 as num_rows,
            'current' as status, null as error_message
        from range(1000) t(i)""",
    "images": f"""
        select {ID.format("i")} as image_id, 'big' as dataset, 'k' || i as key, 'https://h' || i % 97 || '.example/' || i as url,
            'caption ' || i % 100000 as caption, unhex(md5(i::varchar) || md5(i::varchar)) as sha256, hash(i)::ubigint as phash,
            100 as width, 80 as height, 1000 as num_bytes, null as byte_offset, false as is_blank,
            case when i % 50 = 49 then 'missing' else 'ok' end as status,
            case when i % 50 = 49 then 'HTTP ' || 400 + i % 9 end as error_message
        from range(1000000) t(i)""",
    "neighbors": f"""
        select {ID.format("i")} as image_id, case when i < 800000 then 3 else 0 end as num_neighbors, null as nearest_id,
            null as nearest_similarity, (hash(i) % 1000 / 1000)::float as outlier_score
        from range(1000000) t(i)""",
    "groups": f"""
        select {ID.format("i")} as image_id, {ID.format("(i - i % 4)")} as group_id, i % 4 = 0 as is_representative,
            case when i % 4 = 0 then 1 else 0.97 end::float as similarity_to_representative,
            case when i % 4 = 0 then 'exact' else 'near' end as kind, null as confidence
        from range(800000) t(i)""",
    "group_risk": f"""
        select {GROUP} as group_id, {GROUP} as representative_id, 4 as num_images, 1 as num_exact, 4 as num_distinct_captions,
            0.25 as caption_agreement, 4 as num_hosts, 'picture' as class, 0.001 as risk_score, g + 1 as risk_rank
        from range(200000) t(g)""",
    "group_captions": f"""
        select {GROUP} as group_id, c as caption_hash, 'caption ' || 4 * g + c as caption, 1 as num_images, 1 as num_hosts,
            null as caption_family
        from range(200000) t(g), range(4) u(c)""",
    "prompts": """
        select i as prompt_id, 'duplicate' as lane, 'caption ' || i as prompt, 0 as group_id, 4 as num_images,
            1 as num_caption_images, 1.0 as sampling_weight, i + 1 as risk_rank
        from range(100000) t(i)""",
    "thresholds": """
        select x as threshold, 200000 as num_groups, 800000 as num_grouped, 4 as largest_group, 1200000 as num_pairs
        from (values (0.9), (0.95), (0.98)) t(x)""",
}
EMPTY = ("group_evidence", "audit", "embeddings")


def make_million(store: Store) -> None:
    """Writes the tables that a report reads."""
    import duckdb

    with duckdb.connect() as connection:
        for table, sql in TABLES.items():
            rows = connection.sql(sql).to_arrow_table().cast(arrow_schema(table))
            store.write_table(table, rows, fingerprint="a" * 64, part_rows=262_144)
    for table in EMPTY:
        rows = arrow_schema(table, embedding_dim=1).empty_table()
        store.write_table(table, rows, fingerprint="a" * 64, part_rows=100)
