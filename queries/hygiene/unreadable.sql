-- purpose: images that could not be used, and why
-- grain: one row per image whose status is not ok
-- reads: images, shards
-- param: limit integer = 1000 -- rows
-- example: scanner query RUN hygiene/unreadable
with
final as (
    select images.image_id, images.dataset, shards.url as shard, images.key, images.status, images.error_message, images.num_bytes, images.url
    from images join shards on shards.shard_id = images.image_id >> 24
    where images.status != 'ok'
)
select * from final order by image_id limit $limit
