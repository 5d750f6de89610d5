-- purpose: sets of which too many images are near-duplicates of another that would stay: what keeping one image a group would remove
-- grain: one row per dataset above the limit
-- reads: images, shards, groups
-- param: max_share number = 0.3 in [0, 1] -- share of the usable images of a dataset, at most
-- example: scanner query RUN hygiene/redundant_share --param max_share=0.1
with
-- Counted a shard first: shards are few, and each is of one dataset.
usable as (
    select image_id >> 24 as shard_id, count(*) as num_images
    from images
    where status = 'ok'
    group by all
),
-- A semantic member is another picture in the same template, not a copy.
redundant as (
    select image_id >> 24 as shard_id, count(*) as num_redundant, count(*) filter (where kind = 'exact') as num_exact
    from groups
    where not is_representative and kind <> 'semantic'
    group by all
),
per_dataset as (
    select
        shards.dataset, sum(usable.num_images)::bigint as num_images,
        coalesce(sum(redundant.num_redundant), 0)::bigint as num_redundant, coalesce(sum(redundant.num_exact), 0)::bigint as num_exact
    from usable join shards using (shard_id) left join redundant using (shard_id)
    group by shards.dataset
),
final as (
    select dataset, num_redundant / num_images as redundant_share, num_redundant, num_exact, num_images
    from per_dataset
    where num_redundant / num_images > $max_share
)
select * from final order by redundant_share desc, dataset
