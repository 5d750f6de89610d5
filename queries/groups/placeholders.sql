-- purpose: what servers send in place of images that are gone: groups of class placeholder or blank, with what to block them by
-- grain: one row per group
-- reads: group_risk, groups, images
-- param: limit integer = 20 -- rows
-- example: scanner query RUN groups/placeholders --param limit=5
with
chosen as (
    select group_id, class, num_images, num_hosts, num_distinct_captions, representative_id
    from group_risk
    where class in ('placeholder', 'blank')
    order by num_images desc, group_id
    limit $limit
),
hosts as (
    select groups.group_id, host(images.url) as host, count(*) as num_images
    from groups join images using (image_id)
    where groups.group_id in (select group_id from chosen) and host(images.url) is not null
    group by all
),
commonest as (
    select group_id, arg_min(host, (-num_images, host)) as commonest_host, max(num_images) as num_of_host
    from hosts
    group by group_id
),
final as (
    select
        chosen.group_id, chosen.class, chosen.num_images, chosen.num_distinct_captions, chosen.num_hosts, commonest.commonest_host,
        commonest.num_of_host, images.width, images.height, images.num_bytes, lower(hex(images.sha256)) as sha256, images.url
    from chosen
    join images on images.image_id = chosen.representative_id
    left join commonest using (group_id)
)
select * from final order by num_images desc, group_id
