-- purpose: where the files of images lie
-- grain: one row per image asked for
-- reads: images, shards
-- param: image_ids text -- ids, separated by commas
-- example: scanner query RUN extraction/image_files --param image_ids=0,1
with
asked as (
    select distinct try_cast(unnest(string_split($image_ids, ',')) as bigint) as image_id
),
final as (
    select
        images.image_id, images.dataset, shards.url as shard, images.key, images.byte_offset, images.num_bytes, images.sha256,
        images.phash, images.width, images.height, images.is_blank
    from images join asked using (image_id) join shards on shards.shard_id = images.image_id >> 24
    where images.status = 'ok'
)
select * from final order by image_id
