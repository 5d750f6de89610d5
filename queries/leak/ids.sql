-- purpose: every pair of an image here and an image or hash there, with ids and keys: what scanner leak --ids writes
-- grain: one row per image of this set and image of another set that it shows too
-- reads: leaks, images
-- param: other text = all -- name of one other set, or all
-- example: scanner query RUN leak/ids --format csv
with
final as (
    select
        leaks.right_dataset as other, leaks.role, leaks.kind, leaks.left_id, leaks.left_dataset, images.key as left_key,
        images.url as left_url, leaks.right_id, leaks.right_key, leaks.similarity, leaks.hash_distance, leaks.confidence
    from leaks left join images on images.image_id = leaks.left_id
    where $other = 'all' or leaks.right_dataset = $other
)
select * from final order by other, left_id, right_id
