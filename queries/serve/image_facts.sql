-- purpose: one image with all that the run knows of it
-- grain: one row, none where there is no such image
-- reads: images, shards, groups, neighbors, group_risk
-- param: image_id integer -- the image
-- example: scanner query RUN serve/image_facts --param image_id=16777216
with
final as (
    select
        images.image_id, images.dataset, shards.url as shard, left(images.key, 1000) as key,
        left(images.url, 2000) as url, left(images.caption, 10000) as caption, images.sha256, images.phash,
        images.width, images.height, images.num_bytes, images.is_blank, images.status, images.error_message,
        neighbors.num_neighbors, neighbors.nearest_id, neighbors.nearest_similarity, neighbors.outlier_score, groups.group_id,
        groups.is_representative, groups.kind, groups.confidence, groups.similarity_to_representative as similarity,
        group_risk.num_images as num_group_images, group_risk.class, group_risk.risk_rank, group_risk.risk_score,
        group_risk.representative_id
    from images
    left join shards on shards.shard_id = images.image_id >> 24
    left join neighbors using (image_id)
    left join groups using (image_id)
    left join group_risk on group_risk.group_id = groups.group_id
    where images.image_id = $image_id
)
select * from final order by image_id
