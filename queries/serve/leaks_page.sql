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
    select left_id, right_dataset, right_id, right_key, role, similarity, hash_distance, kind, confidence
    from leaks
    where ($other = '*' or right_dataset = $other) and ($kind = 'any' or kind = $kind)
),
final as (
    select
        fitting.*, images.dataset, images.key, images.caption, images.width, images.height, images.status,
        (select count(*) from fitting) as num_fitting
    from fitting join images on images.image_id = fitting.left_id
)
select * from final
order by
    list_position(['exact', 'near', 'semantic', 'unverified'], kind), similarity desc nulls last, hash_distance, left_id,
    right_dataset, right_id
limit $limit offset $offset
