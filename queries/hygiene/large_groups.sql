-- purpose: groups of more images than a model should see of one picture
-- grain: one row per group of more than max_images
-- reads: group_risk, group_captions, images
-- param: max_images integer = 100 in [1, inf] -- images of a group, at most: its duplicate count
-- param: classes list = picture,template,text,vector_graphic in {picture, blank, placeholder, template, text, vector_graphic} -- groups that count
-- param: limit integer = 1000 in [0, inf] -- rows
-- example: scanner query RUN hygiene/large_groups --param max_images=10 --param classes=picture
with
violators as (
    select group_id, representative_id, num_images, num_exact, num_distinct_captions, class, risk_score
    from group_risk
    where num_images > $max_images and list_contains($classes, class)
    order by num_images desc, group_id
    limit $limit
),
commonest as (
    select group_id, arg_min(caption, (-num_images, caption)) as commonest_caption
    from group_captions
    where group_id in (select group_id from violators)
    group by group_id
),
final as (
    select
        violators.group_id, violators.num_images, violators.num_exact, violators.class, violators.num_distinct_captions,
        commonest.commonest_caption, violators.risk_score, images.dataset, images.key as representative_key
    from violators
    join images on images.image_id = violators.representative_id
    left join commonest using (group_id)
)
select * from final order by num_images desc, group_id
