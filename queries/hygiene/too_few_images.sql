-- purpose: a set with fewer images than it should have, as after a download or a filter that failed
-- grain: one row, where the set has too few
-- reads: images
-- param: min_images integer = 1 in [0, inf] -- images that can be used, at least
-- example: scanner query RUN hygiene/too_few_images --param min_images=1000000
with
counted as (
    select count(*) filter (where status = 'ok') as num_usable, count(*) as num_images
    from images
),
final as (
    select num_usable, num_images
    from counted
    where num_usable < $min_images
)
select * from final order by num_usable
