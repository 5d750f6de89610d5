-- purpose: a page of the images that could not be used, and why
-- grain: one row per image whose status is not ok
-- reads: images, shards
-- param: status text = any -- any, or one status of table images but ok
-- param: limit integer = 50 -- rows
-- param: offset integer = 0 -- rows left out before them
-- example: scanner query RUN serve/unusable_page --param status=missing
with
fitting as (
    select image_id, dataset, key, status, error_message, num_bytes, width, height, url, caption
    from images
    where status != 'ok' and ($status = 'any' or status = $status)
),
final as (
    select fitting.*, shards.url as shard, (select count(*) from fitting) as num_fitting
    from fitting join shards on shards.shard_id = fitting.image_id >> 24
)
select * from final order by image_id limit $limit offset $offset
