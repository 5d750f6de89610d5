-- purpose: images that come after one, in the order of their ids, whose caption or name holds a text
-- grain: one row per image
-- reads: images, groups
-- param: text text -- part of the caption or of the key, in upper or lower case; empty: all images
-- param: status text = any -- any, or one status of table images
-- param: after integer = -1 -- image_id that the page before ended with
-- param: limit integer = 60 -- rows
-- example: scanner query RUN serve/images_page --param text=boat --param after=16777216
with
page as (
    select image_id, dataset, key, caption, width, height, is_blank, status, error_message
    from images
    where
        image_id > $after
        and ($status = 'any' or status = $status)
        and ($text = '' or contains(lower(coalesce(caption, '')), lower($text)) or contains(lower(key), lower($text)))
    order by image_id
    limit $limit
),
final as (
    select
        page.image_id, page.dataset, left(page.key, 1000) as key, left(page.caption, 10000) as caption, page.width, page.height,
        page.is_blank, page.status, page.error_message, groups.group_id
    from page left join groups using (image_id)
)
select * from final order by image_id
