-- purpose: images least like all others: a model may memorize them although they have no copy
-- grain: one row per image shown
-- reads: neighbors, images, shards
-- param: limit integer = 24 -- rows
-- example: scanner query RUN report/gallery_outliers --param limit=100
with
-- Blank images are far from all others too, and give nothing away.
blank as (
    select image_id
    from images
    where is_blank
),
farthest as (
    select neighbors.image_id, neighbors.outlier_score, neighbors.num_neighbors
    from neighbors anti join blank using (image_id)
    order by neighbors.outlier_score desc, neighbors.image_id
    limit $limit
),
final as (
    select
        row_number() over (order by farthest.outlier_score desc, farthest.image_id) as position, farthest.image_id,
        farthest.outlier_score, farthest.num_neighbors, images.dataset, shards.url as shard, images.key, images.width,
        images.height, images.caption, images.url
    from farthest
    join images using (image_id)
    join shards on shards.shard_id = farthest.image_id >> 24
)
select * from final order by position
