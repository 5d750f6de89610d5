-- purpose: shards of the source that end early: what came before the break was read, what comes after is lost, and loaders may stop
-- grain: one row per broken shard, where there are too many
-- reads: shards
-- param: max_shards integer = 0 in [0, inf] -- broken shards, at most
-- param: limit integer = 1000 in [0, inf] -- rows
-- example: scanner query RUN hygiene/broken_shards
with
broken as (
    select shard_id, dataset, url, num_rows, error_message, count(*) over () as num_broken
    from shards
    where status = 'broken'
),
final as (
    select shard_id, dataset, url, num_rows, error_message
    from broken
    where num_broken > $max_shards
)
select * from final order by shard_id limit $limit
