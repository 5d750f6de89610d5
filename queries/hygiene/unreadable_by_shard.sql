-- purpose: where images that could not be used come from: shards by how much of them is lost, and to what
-- grain: one row per shard with an image whose status is not ok
-- reads: images, shards
-- param: limit integer = 20 -- rows
-- example: scanner query RUN hygiene/unreadable_by_shard --param limit=100
with
-- Reasons that differ in numbers alone are one.
reasons as (
    select
        image_id >> 24 as shard_id, status, regexp_replace(coalesce(error_message, ''), '[0-9][0-9,.]*', '#', 'g') as reason,
        count(*) as num_images
    from images
    where status != 'ok'
    group by all
),
per_shard as (
    select
        shard_id, sum(num_images)::bigint as num_unusable,
        coalesce(sum(num_images) filter (where status = 'unreadable'), 0)::bigint as num_unreadable,
        coalesce(sum(num_images) filter (where status = 'missing'), 0)::bigint as num_missing,
        coalesce(sum(num_images) filter (where status in ('too_small', 'too_large')), 0)::bigint as num_wrong_size,
        arg_min(reason, (-num_images, status, reason)) as commonest_reason
    from reasons
    group by shard_id
),
final as (
    select
        shards.shard_id, shards.dataset, shards.url, shards.status, shards.num_rows as num_images, per_shard.num_unusable,
        per_shard.num_unusable / nullif(shards.num_rows, 0) as unusable_share, per_shard.num_unreadable, per_shard.num_missing,
        per_shard.num_wrong_size, per_shard.commonest_reason
    from per_shard join shards using (shard_id)
)
select * from final order by unusable_share desc nulls last, num_unusable desc, shard_id limit $limit
