-- purpose: how each shard of the source fared
-- grain: one row per shard that is not superseded
-- reads: shards, images
-- param: limit integer = 1000 -- rows, the worst first
-- example: scanner query RUN hygiene/shard_health
with
per_shard as (
    select
        image_id >> 24 as shard_id, count(*) as num_images, count(*) filter (where status = 'ok') as num_ok,
        count(*) filter (where status = 'missing') as num_missing, count(*) filter (where is_blank) as num_blank
    from images
    group by all
),
final as (
    select
        shards.shard_id, shards.dataset, shards.url, shards.status, shards.error_message, coalesce(num_images, 0) as num_images,
        coalesce(num_ok, 0) as num_ok, coalesce(num_missing, 0) as num_missing, coalesce(num_blank, 0) as num_blank
    from shards left join per_shard using (shard_id)
    where shards.status != 'superseded'
)
select * from final order by status = 'current', num_images - num_ok desc, shard_id limit $limit
