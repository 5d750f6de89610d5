-- purpose: images of other sets that this set holds too, each beside the image here that is most like it; strongest kind first
-- grain: one row per image of another set that is shown
-- reads: leaks, images, shards
-- param: limit integer = 12 -- rows of each other set
-- example: scanner query RUN report/leak_pairs --param limit=100
with
ranked as (
    select *, list_position(['exact', 'near', 'semantic', 'unverified'], kind) as strength
    from leaks
),
-- Of several images here that show the same one there, the closest speaks.
closest as (
    select *, count(*) over (partition by right_dataset, right_id) as num_left
    from ranked
    qualify row_number() over (
        partition by right_dataset, right_id order by strength, similarity desc nulls last, hash_distance nulls last, left_id
    ) = 1
),
shown as (
    select
        *, row_number() over (
            partition by right_dataset order by strength, similarity desc nulls last, hash_distance nulls last, right_id
        ) as position
    from closest
    qualify position <= $limit
),
final as (
    select
        shown.right_dataset, shown.position, shown.left_id, shown.right_id, shown.right_key, shown.role, shown.similarity,
        shown.hash_distance, shown.kind, shown.confidence, shown.num_left, images.dataset as left_dataset, shards.url as left_shard,
        images.key as left_key, images.caption as left_caption
    from shown
    join images on images.image_id = shown.left_id
    join shards on shards.shard_id = shown.left_id >> 24
)
select * from final order by right_dataset, position
