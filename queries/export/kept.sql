-- purpose: the images that stay in an exported set, and what decided it where a copy of theirs went
-- grain: one row per image that stays
-- reads: keep, images, shards
-- example: scanner query RUN export/kept
with
final as (
    select
        keep.image_id, images.dataset, shards.url as shard, images.key, images.url, keep.sample_weight, keep.rule
    from keep
    join images on images.image_id = keep.image_id
    left join shards on shards.shard_id = keep.image_id >> 24
    where keep.is_kept
)
select * from final order by image_id
