-- purpose: a page of the images that could not be used, and why
-- grain: one row per image whose status is not ok
-- reads: images, shards
-- param: status text = any -- any, or one status of table images but ok
-- param: limit integer = 50 -- rows
-- param: offset integer = 0 -- rows left out before them
-- example: scanner query RUN serve/unusable_page --param status=missing
with
fitting as (
    select *
    from images
    where status != 'ok' and ($status = 'any' or status = $status)
),
page as (
    select *
    from fitting
    order by image_id
    limit $limit offset $offset
),
final as (
    select
        page.image_id, page.dataset, shards.url as shard, left(page.key, 1000) as key, page.status, page.error_message,
        page.num_bytes, left(page.caption, 10000) as caption, (select count(*) from fitting) as num_fitting
    from page join shards on shards.shard_id = page.image_id >> 24
)
select * from final order by image_id
