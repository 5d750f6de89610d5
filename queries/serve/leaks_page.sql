-- purpose: a page of the images that another set shows too, the surest first
-- grain: one row per image of this run and image of another set
-- reads: leaks, images
-- param: other text = * -- name of the other set; *: of all
-- param: kind text = any -- any, or one kind of table leaks
-- param: limit integer = 40 -- rows
-- param: offset integer = 0 -- rows left out before them
-- example: scanner query RUN serve/leaks_page --param kind=exact
with
fitting as (
    select *, list_position(['exact', 'near', 'semantic', 'unverified'], kind) as place
    from leaks
    where ($other = '*' or right_dataset = $other) and ($kind = 'any' or kind = $kind)
),
page as (
    select *
    from fitting
    order by place, similarity desc nulls last, hash_distance, left_id, right_dataset, right_id
    limit $limit offset $offset
),
final as (
    select
        page.place, page.left_id, page.right_dataset, page.right_id, left(page.right_key, 1000) as right_key, page.role,
        page.similarity, page.hash_distance, page.kind, page.confidence, images.dataset, left(images.key, 1000) as key,
        left(images.caption, 10000) as caption, images.width, images.height, images.status,
        (select count(*) from fitting) as num_fitting
    from page join images on images.image_id = page.left_id
)
select * from final order by place, similarity desc nulls last, hash_distance, left_id, right_dataset, right_id
