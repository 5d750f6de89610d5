-- purpose: pairs that nearly count: the most similar images that the search left in different groups, which a lower threshold would join
-- grain: one row per link of the forest whose images no group joins
-- reads: links, candidates, images
-- param: limit integer = 20 -- rows
-- example: scanner query RUN groups/near_misses --param limit=100
with
missed as (
    select links.left_id, links.right_id, links.similarity, l.group_id as left_group_id, r.group_id as right_group_id
    from links
    left join candidates as l on l.image_id = links.left_id
    left join candidates as r on r.image_id = links.right_id
    where l.group_id is null or r.group_id is null or l.group_id != r.group_id
    order by links.similarity desc, links.left_id, links.right_id
    limit $limit
),
sizes as (
    select group_id, count(*) as num_images
    from candidates
    where group_id in (select left_group_id from missed union all select right_group_id from missed)
    group by group_id
),
final as (
    select
        missed.similarity, missed.left_id, missed.right_id,
        coalesce(ls.num_images, 1) as left_num_images, coalesce(rs.num_images, 1) as right_num_images,
        left_image.key as left_key, right_image.key as right_key, left_image.caption as left_caption, right_image.caption as right_caption
    from missed
    join images as left_image on left_image.image_id = missed.left_id
    join images as right_image on right_image.image_id = missed.right_id
    left join sizes as ls on ls.group_id = missed.left_group_id
    left join sizes as rs on rs.group_id = missed.right_group_id
)
select * from final order by similarity desc, left_id, right_id
