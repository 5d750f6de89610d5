-- purpose: shards by how much of them is duplicated: within themselves, and with other shards
-- grain: one row per shard with an image in a group
-- reads: shards, groups
-- param: limit integer = 20 -- rows
-- example: scanner query RUN hygiene/shards_of_duplicates --param limit=50
with
counted as (
    select image_id >> 24 as shard_id, group_id, count(*) as num_images, count(*) filter (where not is_representative) as num_others
    from groups
    group by all
),
per_shard as (
    select
        shard_id, sum(num_images)::bigint as num_grouped, count(*) as num_groups,
        sum(num_images - 1)::bigint as num_repeated, sum(num_others)::bigint as num_removable
    from counted
    group by shard_id
),
-- Repeated: images of a group beyond its first in this shard. Removable: those that are no group's representative.
final as (
    select
        shards.shard_id, shards.dataset, shards.url, shards.num_rows as num_images, per_shard.num_grouped,
        per_shard.num_grouped / nullif(shards.num_rows, 0) as grouped_share, per_shard.num_groups, per_shard.num_repeated,
        per_shard.num_removable
    from per_shard join shards using (shard_id)
)
select * from final order by grouped_share desc nulls last, num_grouped desc, shard_id limit $limit
