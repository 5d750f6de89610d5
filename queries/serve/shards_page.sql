-- purpose: a page of the shards of the source and how each fared, those with losses first
-- grain: one row per shard
-- reads: shards, images
-- param: status text = any -- any (all but superseded), or one status of table shards
-- param: limit integer = 50 -- rows
-- param: offset integer = 0 -- rows left out before them
-- example: scanner query RUN serve/shards_page --param status=broken
with
per_shard as (
    select
        image_id >> 24 as shard_id, count(*) as num_images, count(*) filter (where status = 'ok') as num_ok,
        count(*) filter (where status = 'missing') as num_missing, count(*) filter (where is_blank) as num_blank
    from images
    group by all
),
fitting as (
    select shard_id, dataset, url, size, status, error_message
    from shards
    where status = $status or ($status = 'any' and status != 'superseded')
),
final as (
    select
        fitting.*, coalesce(num_images, 0) as num_images, coalesce(num_ok, 0) as num_ok, coalesce(num_missing, 0) as num_missing,
        coalesce(num_blank, 0) as num_blank, (select count(*) from fitting) as num_fitting
    from fitting left join per_shard using (shard_id)
)
select * from final order by status = 'current', num_images - num_ok desc, shard_id limit $limit offset $offset
