-- purpose: with which other sets the run was compared, and how many images of each kind are in both
-- grain: one row per other set
-- reads: comparisons, leaks
-- example: scanner query RUN serve/comparisons_found
with
found as (
    select
        right_dataset as other, count(distinct left_id) as num_left_found, count(distinct right_id) as num_right_found,
        count(distinct left_id) filter (where kind = 'exact') as num_exact,
        count(distinct left_id) filter (where kind = 'near') as num_near,
        count(distinct left_id) filter (where kind = 'semantic') as num_semantic,
        count(distinct left_id) filter (where kind = 'unverified') as num_unverified
    from leaks
    group by right_dataset
),
final as (
    select
        comparisons.other, comparisons.role, comparisons.form, comparisons.url, comparisons.num_left, comparisons.num_right,
        comparisons.num_right_unusable, comparisons.threshold, comparisons.max_hash_distance, comparisons.at,
        coalesce(found.num_left_found, 0) as num_left_found, coalesce(found.num_right_found, 0) as num_right_found,
        coalesce(found.num_exact, 0) as num_exact, coalesce(found.num_near, 0) as num_near,
        coalesce(found.num_semantic, 0) as num_semantic, coalesce(found.num_unverified, 0) as num_unverified
    from comparisons left join found using (other)
)
select * from final order by role desc, other
