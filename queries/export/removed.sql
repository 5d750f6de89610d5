-- purpose: the images that go from an exported set: by which rule, in favour of which image, and how similar the two are
-- grain: one row per image that goes
-- reads: keep, images, shards
-- example: scanner query RUN export/removed
with
final as (
    select
        keep.image_id, images.dataset, shards.url as shard, images.key, images.url, keep.rule, keep.because_of,
        other.dataset as because_of_dataset, other_shards.url as because_of_shard, other.key as because_of_key, keep.similarity
    from keep
    join images on images.image_id = keep.image_id
    left join shards on shards.shard_id = keep.image_id >> 24
    left join images as other on other.image_id = keep.because_of
    left join shards as other_shards on other_shards.shard_id = keep.because_of >> 24
    where not keep.is_kept
)
select * from final order by image_id
