-- purpose: hosts that publish duplicated images: how much of what each host gave is in groups, and how often it repeats itself
-- grain: one row per host with an image in a group
-- reads: images, groups
-- param: limit integer = 20 -- rows
-- example: scanner query RUN groups/hosts_of_duplicates --param limit=50
with
-- A host's images of one group count together before anything is added up, so that what is left is small.
counted as (
    select host(images.url) as host, groups.group_id, count(*) as num_images
    from images left join groups using (image_id)
    group by all
),
per_host as (
    select
        host, sum(num_images)::bigint as num_images,
        sum(num_images) filter (where group_id is not null)::bigint as num_grouped,
        count(group_id) as num_groups,
        sum(num_images - 1) filter (where group_id is not null)::bigint as num_repeated,
        max(num_images) filter (where group_id is not null) as most_repeated
    from counted
    group by host
    -- An aggregate, so that no host is computed a second time to filter rows by.
    having count(host) > 0 and count(group_id) > 0
),
final as (
    select host, num_images, num_grouped, num_grouped / num_images as grouped_share, num_groups, num_repeated, most_repeated
    from per_host
)
select * from final order by num_grouped desc, num_images, host limit $limit
