-- purpose: images of evaluation sets that this set holds: what a model would have been trained on before it is tested on it
-- grain: one row per image of an evaluation set
-- reads: leaks, images
-- param: other text = all -- name of one other set, or all
-- param: kinds text = exact,near -- kinds of leaks that count, separated by commas
-- param: limit integer = 1000 -- rows
-- example: scanner query RUN leak/eval_images_leaked --param kinds=exact --param limit=10
with
counting as (
    select *, list_position(['exact', 'near', 'semantic', 'unverified'], kind) as strength
    from leaks
    where role = 'eval' and ($other = 'all' or right_dataset = $other)
        and list_contains(list_transform(string_split($kinds, ','), lambda word: trim(word)), kind)
),
-- Of several images here that show the same one there, the closest speaks.
closest as (
    select
        *, count(*) over (partition by right_dataset, right_id) as num_left,
        row_number() over (
            partition by right_dataset, right_id
            order by strength, confidence desc nulls last, similarity desc nulls last, hash_distance nulls last, left_id
        ) as place
    from counting
),
final as (
    select
        closest.right_dataset as other, closest.right_id, closest.right_key, closest.kind, closest.similarity, closest.hash_distance,
        closest.confidence, closest.num_left, closest.left_id, images.key as left_key, images.caption as left_caption
    from closest left join images on images.image_id = closest.left_id
    where closest.place = 1
)
select * from final
order by list_position(['exact', 'near', 'semantic', 'unverified'], kind), similarity desc nulls last, other, right_id
limit $limit
