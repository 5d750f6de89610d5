-- purpose: sets of whose images in groups too many were never looked at: only the search says that they are duplicates
-- grain: one row per dataset above both limits
-- reads: shards, groups
-- param: max_share number = 0.05 in [0, 1] -- share of the images of a dataset that are in groups, at most
-- param: max_images integer = 0 in [0, inf] -- as many are let pass whatever their share
-- example: scanner query RUN hygiene/unverified_share
with
per_shard as (
    select image_id >> 24 as shard_id, count(*) as num_grouped, count(*) filter (where kind = 'unverified') as num_unverified
    from groups
    group by all
),
per_dataset as (
    select
        shards.dataset, sum(per_shard.num_grouped)::bigint as num_grouped, sum(per_shard.num_unverified)::bigint as num_unverified
    from per_shard join shards using (shard_id)
    group by shards.dataset
),
final as (
    select dataset, num_unverified / num_grouped as unverified_share, num_unverified, num_grouped
    from per_dataset
    where num_unverified > $max_images and num_unverified / num_grouped > $max_share
)
select * from final order by unverified_share desc, dataset
