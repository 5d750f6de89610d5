-- purpose: what keeping one image a group would save at each swept threshold: images, and bytes if chance picks which one stays
-- grain: one row per threshold
-- reads: thresholds, links, images, neighbors
-- example: scanner query RUN groups/savings_by_threshold
with
-- The highest threshold at which each image is in a group: that of its nearest link.
nearest as (
    select image_id, max(similarity) as similarity
    from (select left_id as image_id, similarity from links union all select right_id, similarity from links)
    group by image_id
),
entered as (
    select thresholds.threshold, sum(images.num_bytes)::bigint as num_bytes
    from nearest
    asof join thresholds on nearest.similarity >= thresholds.threshold
    join images on images.image_id = nearest.image_id
    group by thresholds.threshold
),
total as (
    select count(*) as num_images
    from neighbors
),
swept as (
    select
        thresholds.threshold, thresholds.num_groups, thresholds.num_grouped, thresholds.num_grouped - thresholds.num_groups as num_removable,
        coalesce(sum(entered.num_bytes) over (order by thresholds.threshold desc), 0)::bigint as num_grouped_bytes
    from thresholds left join entered using (threshold)
),
final as (
    select
        threshold, num_groups, num_removable,
        num_removable - coalesce(lag(num_removable) over (order by threshold desc), 0) as num_removable_more,
        num_removable / nullif(total.num_images, 0) as removable_share, num_grouped_bytes,
        round(num_grouped_bytes * (num_removable / nullif(num_grouped, 0)))::bigint as removable_bytes
    from swept, total
)
select * from final order by threshold
