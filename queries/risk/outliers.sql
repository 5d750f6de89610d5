-- purpose: images far from all others and without a duplicate: what is memorized at a count of one is found among these
-- grain: one row per image
-- reads: neighbors, images, shards
-- param: limit integer = 20 -- rows
-- example: scanner query RUN risk/outliers --param limit=100
with
usable as (
    select image_id
    from images
    where status = 'ok' and not coalesce(is_blank, false)
),
farthest as (
    select neighbors.image_id, neighbors.outlier_score
    from neighbors semi join usable using (image_id)
    where neighbors.num_neighbors = 0
    order by neighbors.outlier_score desc, neighbors.image_id
    limit $limit
),
final as (
    select
        farthest.outlier_score, farthest.image_id, images.dataset, shards.url as shard, images.key, images.width, images.height,
        images.caption, images.url
    from farthest
    join images using (image_id)
    join shards on shards.shard_id = farthest.image_id >> 24
)
select * from final order by outlier_score desc, image_id
