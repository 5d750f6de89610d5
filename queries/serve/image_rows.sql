-- purpose: what is shown of images that were found by their embeddings
-- grain: one row per image asked for
-- reads: images, groups
-- param: image_ids text -- ids, separated by commas
-- example: scanner query RUN serve/image_rows --param image_ids=0,1
with
asked as (
    select distinct try_cast(unnest(string_split($image_ids, ',')) as bigint) as image_id
),
final as (
    select
        images.image_id, images.dataset, left(images.key, 1000) as key, left(images.caption, 10000) as caption,
        images.width, images.height, images.is_blank, images.status,
        groups.group_id, groups.kind
    from asked join images using (image_id) left join groups using (image_id)
)
select * from final order by image_id
