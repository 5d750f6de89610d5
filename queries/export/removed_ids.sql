-- purpose: ids of what goes as another tool calls images, and whether an image that stays is called so too
-- grain: one row per id
-- reads: keep, images, shards
-- param: name text = key -- key, or shard_row: name of the shard and number of the image in it, as NeMo Curator counts
-- example: scanner query RUN export/removed_ids --param name=shard_row
with
listed as (
    select
        keep.image_id, keep.is_kept, images.key, regexp_extract(shards.url, '([^/]*?)(\.[^./]*)?$', 1) as stem,
        row_number() over (partition by keep.image_id >> 24 order by keep.image_id) - 1 as row_number
    from keep
    join images on images.image_id = keep.image_id
    left join shards on shards.shard_id = keep.image_id >> 24
    where images.status != 'missing'
),
named as (
    select
        is_kept, image_id,
        case when $name = 'shard_row' then stem || '_' || printf('%06d', row_number) else key end as id
    from listed
),
final as (
    select id, bool_or(is_kept) as is_shared, count(*) filter (where not is_kept) as num_images
    from named
    group by id
    having not bool_and(is_kept)
)
select * from final order by id
