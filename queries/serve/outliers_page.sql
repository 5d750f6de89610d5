-- purpose: a page of the images farthest from all others
-- grain: one row per embedded image
-- reads: neighbors, images
-- param: limit integer = 60 -- rows
-- param: offset integer = 0 -- rows left out before them
-- example: scanner query RUN serve/outliers_page --param limit=10
with
page as (
    select image_id, outlier_score, num_neighbors
    from neighbors
    order by outlier_score desc, image_id
    limit $limit offset $offset
),
final as (
    select
        page.image_id, page.outlier_score, page.num_neighbors, images.dataset, left(images.key, 1000) as key,
        left(images.caption, 10000) as caption, images.width, images.height, images.is_blank, images.status,
        (select count(*) from neighbors) as num_fitting
    from page join images using (image_id)
)
select * from final order by outlier_score desc, image_id
