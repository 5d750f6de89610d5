-- purpose: images of this set that a take-down list asks to be gone, each with the entry that asks for it most clearly
-- grain: one row per image of this set
-- reads: leaks, images, shards
-- param: other text = all -- name of one list, or all
-- param: kinds text = exact,near,semantic,unverified -- kinds of leaks that count, separated by commas
-- param: limit integer = 1000 -- rows
-- example: scanner query RUN leak/takedown_matches --param kinds=exact,near
with
counting as (
    select *, list_position(['exact', 'near', 'semantic', 'unverified'], kind) as strength
    from leaks
    where role = 'takedown' and ($other = 'all' or right_dataset = $other)
        and list_contains(list_transform(string_split($kinds, ','), lambda word: trim(word)), kind)
),
clearest as (
    select
        *, count(*) over (partition by left_id) as num_entries,
        row_number() over (
            partition by left_id
            order by strength, confidence desc nulls last, similarity desc nulls last, hash_distance nulls last, right_dataset, right_id
        ) as place
    from counting
),
final as (
    select
        clearest.left_id as image_id, images.dataset, shards.url as shard, images.key, images.url, images.caption,
        clearest.right_dataset as other, clearest.right_id, clearest.right_key, clearest.kind, clearest.similarity,
        clearest.hash_distance, clearest.confidence, clearest.num_entries
    from clearest
    join images on images.image_id = clearest.left_id
    join shards on shards.shard_id = clearest.left_id >> 24
    where clearest.place = 1
)
select * from final
order by list_position(['exact', 'near', 'semantic', 'unverified'], kind), similarity desc nulls last, hash_distance, image_id
limit $limit
