-- purpose: what other sets the run was compared with, and how much of each it holds, by the strongest kind of each image
-- grain: one row per other set
-- reads: comparisons, leaks
-- example: scanner query RUN report/compared_sets
with
per_image as (
    select
        right_dataset, right_id,
        min(list_position(['exact', 'near', 'semantic', 'unverified'], kind)) as strongest
    from leaks
    group by right_dataset, right_id
),
per_set as (
    select
        right_dataset, count(*) as num_right_found, count(*) filter (where strongest = 1) as num_exact,
        count(*) filter (where strongest = 2) as num_near, count(*) filter (where strongest = 3) as num_semantic,
        count(*) filter (where strongest = 4) as num_unverified
    from per_image
    group by right_dataset
),
per_pair as (
    select right_dataset, count(distinct left_id) as num_left_found, count(*) as num_pairs
    from leaks
    group by right_dataset
),
final as (
    select
        comparisons.other, comparisons.role, comparisons.form, comparisons.num_left, comparisons.num_right,
        comparisons.num_right_unusable, comparisons.threshold, comparisons.max_hash_distance, comparisons.at,
        coalesce(per_set.num_right_found, 0) as num_right_found, coalesce(per_set.num_exact, 0) as num_exact,
        coalesce(per_set.num_near, 0) as num_near, coalesce(per_set.num_semantic, 0) as num_semantic,
        coalesce(per_set.num_unverified, 0) as num_unverified, coalesce(per_pair.num_left_found, 0) as num_left_found,
        coalesce(per_pair.num_pairs, 0) as num_pairs
    from comparisons
    left join per_set on per_set.right_dataset = comparisons.other
    left join per_pair on per_pair.right_dataset = comparisons.other
)
select * from final order by num_right_found desc, other
