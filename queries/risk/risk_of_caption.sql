-- purpose: which pictures stand under one caption, letter by letter, and how risky each is under it
-- grain: one row per group, or image without one, that carries the caption
-- reads: images, groups, group_risk
-- param: caption text -- the exact text
-- param: limit integer = 100 -- rows
-- example: scanner query RUN risk/risk_of_caption --param 'caption=a picture of a cat'
with
carrying as (
    select image_id, host(url) as host
    from images
    where caption = $caption
),
pictures as (
    select
        groups.group_id, coalesce(groups.group_id, carrying.image_id) as picture_id, count(*) as num_with_caption,
        count(distinct carrying.host) as num_hosts
    from carrying left join groups using (image_id)
    group by all
),
final as (
    select
        group_risk.risk_rank, group_risk.risk_score, pictures.num_with_caption, coalesce(group_risk.num_images, 1) as num_images,
        group_risk.caption_agreement, pictures.num_hosts, group_risk.class, pictures.group_id,
        coalesce(group_risk.representative_id, pictures.picture_id) as image_id
    from pictures left join group_risk using (group_id)
)
select * from final order by num_with_caption desc, num_images desc, image_id limit $limit
