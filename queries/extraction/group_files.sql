-- purpose: the different files of groups: a model may have seen a cropped or marked copy more often than the one that is kept
-- grain: one row per file
-- reads: images, groups
-- param: group_ids text -- ids, separated by commas
-- param: limit integer = 8 -- files of a group, the commonest first
-- example: scanner query RUN extraction/group_files --param group_ids=0
with
asked as (
    select distinct try_cast(unnest(string_split($group_ids, ',')) as bigint) as group_id
),
files as (
    select groups.group_id, min(groups.image_id) as image_id, count(*) as num_images
    from groups join asked using (group_id) join images using (image_id)
    where groups.kind in ('exact', 'near')
    group by groups.group_id, coalesce(hex(images.sha256), groups.image_id::varchar)
),
final as (
    select group_id, image_id, num_images
    from files
    qualify row_number() over (partition by group_id order by num_images desc, image_id) <= $limit
)
select * from final order by group_id, image_id
