-- purpose: pairs for a contact sheet, no image in two of them: the best of each, evenly drawn from the strongest to the most doubtful
-- grain: one row per image here and image or hash there that are shown
-- reads: leaks, images, shards
-- param: other text -- name of the other set
-- param: limit integer = 120 -- pairs
-- example: scanner query RUN leak/shown_pairs --param other=test
with
best as (
    select
        *, list_position(['exact', 'near', 'semantic', 'unverified'], kind) as strength,
        row_number() over (
            partition by right_id
            order by
                list_position(['exact', 'near', 'semantic', 'unverified'], kind), confidence desc nulls last, similarity desc nulls last,
                hash_distance nulls last, left_id
        ) as place
    from leaks
    where right_dataset = $other
),
-- Copies there have one best image here: they are shown once.
once as (
    select
        *, row_number() over (
            partition by left_id
            order by strength, confidence desc nulls last, similarity desc nulls last, hash_distance nulls last, right_id
        ) as place_here
    from best
    where place = 1
),
ordered as (
    select
        *, count(*) over () as num_found,
        row_number() over (
            order by strength, confidence desc nulls last, similarity desc nulls last, hash_distance nulls last, right_id
        ) as position
    from once
    where place_here = 1
),
-- As many as asked for, at even steps through all.
chosen as (
    select * from ordered where (position * $limit) // num_found > ((position - 1) * $limit) // num_found
),
final as (
    select
        chosen.position, chosen.num_found, chosen.left_id, chosen.right_id, chosen.right_key, chosen.kind, chosen.similarity,
        chosen.hash_distance, chosen.confidence, images.image_id, images.dataset, shards.url as shard, images.key,
        images.caption, images.byte_offset, images.num_bytes, images.sha256, images.phash, images.is_blank, images.width,
        images.height
    from chosen
    join images on images.image_id = chosen.left_id
    join shards on shards.shard_id = chosen.left_id >> 24
)
select * from final order by position
