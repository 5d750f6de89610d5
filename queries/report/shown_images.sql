-- purpose: the images that a page shows: where their files lie, what the scan saw of them, and what they are called
-- grain: one row per image asked for that could be read
-- reads: images, shards
-- param: image_ids text -- ids, separated by commas
-- example: scanner query RUN report/shown_images --param image_ids=0,1
with
asked as (
    select distinct try_cast(unnest(string_split($image_ids, ',')) as bigint) as image_id
),
final as (
    select
        images.image_id, images.dataset, shards.url as shard, images.key, images.byte_offset, images.num_bytes, images.sha256,
        images.phash, images.width, images.height, images.is_blank, images.caption
    from images join asked using (image_id) join shards on shards.shard_id = images.image_id >> 24
    where images.status = 'ok'
)
select * from final order by image_id
