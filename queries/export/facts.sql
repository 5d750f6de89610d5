-- purpose: what a keep policy may choose by, of every image; tables that are joined to it add their columns
-- grain: one row per image
-- reads: images, shards, groups, group_evidence, group_risk, neighbors
-- example: scanner query RUN export/facts
with
final as (
    select
        images.image_id, images.dataset, images.key, shards.url as shard, images.url, host(images.url) as host, images.caption,
        images.status, images.is_blank, images.width, images.height,
        coalesce(images.width, 0) * coalesce(images.height, 0) as resolution,
        length(coalesce(images.caption, '')) as caption_length, coalesce(images.num_bytes, 0) as num_bytes,
        neighbors.num_neighbors, neighbors.nearest_similarity, neighbors.outlier_score,
        groups.group_id, groups.is_representative, groups.kind, groups.confidence, groups.similarity_to_representative,
        group_evidence.class, group_risk.num_images, group_risk.risk_score
    from images
    left join shards on shards.shard_id = images.image_id >> 24
    left join neighbors on neighbors.image_id = images.image_id
    left join groups on groups.image_id = images.image_id
    left join group_evidence on group_evidence.group_id = groups.group_id
    left join group_risk on group_risk.group_id = groups.group_id
)
select * from final order by image_id
