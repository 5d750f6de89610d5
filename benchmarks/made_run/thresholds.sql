with
swept as (
    select threshold, g, count(*) + 1 as num_images
    from made_links, (values (0.95::double), (0.96), (0.97), (0.98), (0.99)) as t (threshold)
    where similarity >= threshold and is_within
    group by all
)
select
    threshold, count(*) as num_groups, sum(num_images)::bigint as num_grouped, max(num_images) as largest_group,
    sum(num_images - 1)::bigint as num_pairs
from swept
group by threshold
order by threshold
