-- purpose: what each swept threshold would call a duplicate, and what keeping one image a group would remove
-- grain: one row per threshold
-- reads: thresholds, neighbors
-- example: scanner query RUN groups/threshold_sweep
with
total as (
    select count(*) as num_images
    from neighbors
),
final as (
    select
        threshold, num_groups, num_grouped, largest_group, num_pairs, num_grouped - num_groups as num_removable,
        (num_grouped - num_groups) / nullif(num_images, 0) as removable_share
    from thresholds, total
)
select * from final order by threshold
