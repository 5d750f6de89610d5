-- purpose: the images that links join to one image, closest first: those kept to span groups, at any swept threshold
-- grain: one row per other image
-- reads: links, pairs, images
-- param: image_id integer -- the image
-- param: limit integer = 24 -- rows
-- example: scanner query RUN serve/image_pairs --param image_id=16777216
with
joined as (
    select right_id as image_id, similarity from links where left_id = $image_id
    union all
    select left_id as image_id, similarity from links where right_id = $image_id
    union all
    select right_id as image_id, similarity from pairs where left_id = $image_id
    union all
    select left_id as image_id, similarity from pairs where right_id = $image_id
),
others as (
    select image_id, max(similarity) as similarity
    from joined
    group by image_id
    order by similarity desc, image_id
    limit $limit
),
final as (
    select
        others.image_id, others.similarity, images.dataset, left(images.key, 1000) as key, left(images.caption, 10000) as caption,
        images.width, images.height, images.status
    from others join images using (image_id)
)
select * from final order by similarity desc, image_id
