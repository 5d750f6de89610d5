-- purpose: images of the run that show what is in an evaluation set or on a take-down list, where they show too much of it
-- grain: one row per image of the run and other set
-- reads: comparisons, leaks, images, shards
-- needs: exists (from comparisons where role = $role) -- no set of role $role was compared with the run (scanner leak)
-- param: role text = eval in {eval, takedown} -- of the other set
-- param: max_share number = 0 in [0, 1] -- share of the other set that the run may show, at most
-- param: kinds list = exact,near,unverified in {exact, near, semantic, unverified} -- matches that count
-- param: limit integer = 1000 in [0, inf] -- rows
-- example: scanner query RUN hygiene/leaked_images --param role=takedown
with
counted as (
    select left_id, right_dataset, right_id, right_key, similarity, hash_distance, kind
    from leaks
    where role = $role and list_contains($kinds, kind)
),
shown as (
    select right_dataset, count(distinct right_id) as num_shown
    from counted
    group by right_dataset
),
-- A set that is not in comparisons counts as wholly shown.
above as (
    select shown.right_dataset, coalesce(shown.num_shown / nullif(comparisons.num_right, 0), 1) as shown_share
    from shown left join comparisons on comparisons.other = shown.right_dataset
    where coalesce(shown.num_shown / nullif(comparisons.num_right, 0), 1) > $max_share
),
-- Of several images of the other set, the one that is surest.
per_image as (
    select
        left_id, right_dataset, count(distinct right_id) as num_others,
        arg_min(
            {'right_key': right_key, 'kind': kind, 'similarity': similarity, 'hash_distance': hash_distance},
            (
                list_position(['exact', 'near', 'unverified', 'semantic'], kind), -coalesce(similarity, 0),
                coalesce(hash_distance, 0), right_id
            )
        ) as nearest
    from counted
    where right_dataset in (select right_dataset from above)
    group by left_id, right_dataset
),
final as (
    select
        per_image.right_dataset as other, per_image.nearest.right_key as other_key, per_image.nearest.kind as kind,
        per_image.nearest.similarity as similarity, per_image.nearest.hash_distance as hash_distance, per_image.num_others,
        above.shown_share, per_image.left_id as image_id, images.dataset, shards.url as shard, images.key, images.caption
    from per_image
    join above using (right_dataset)
    left join images on images.image_id = per_image.left_id
    left join shards on shards.shard_id = per_image.left_id >> 24
)
select * from final
order by list_position(['exact', 'near', 'unverified', 'semantic'], kind), similarity desc nulls last, image_id, other
limit $limit
