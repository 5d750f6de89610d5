-- purpose: what groups look like: of each the representative, then the files least like it; byte-equal ones once
-- grain: one row per group and different file shown
-- reads: groups, images
-- param: group_ids text -- ids, separated by commas
-- param: files integer = 6 -- different files of each group
-- example: scanner query RUN serve/group_strips --param group_ids=0,16777216
with
asked as (
    select distinct try_cast(unnest(string_split($group_ids, ',')) as bigint) as group_id
),
-- Where no digest is known (ready embeddings) every image counts as a file of its own.
members as (
    select
        groups.group_id, groups.image_id, groups.is_representative, groups.kind, groups.similarity_to_representative as similarity,
        coalesce(images.sha256, encode(groups.image_id::varchar)) as file
    from asked
    join groups using (group_id)
    join images using (image_id)
),
-- Of equal files the representative speaks, else the first.
files as (
    select
        group_id, file, bool_or(is_representative) as is_representative, count(*) as num_copies,
        arg_min(image_id, (not is_representative, image_id)) as image_id,
        arg_min(kind, (not is_representative, image_id)) as kind,
        arg_min(similarity, (not is_representative, image_id)) as similarity
    from members
    group by group_id, file
),
shown as (
    select *, row_number() over (partition by group_id order by is_representative desc, similarity, image_id) as position
    from files
    qualify position <= $files
),
final as (
    select
        shown.group_id, shown.position, shown.image_id, shown.is_representative, shown.kind, shown.similarity, shown.num_copies,
        images.dataset, images.key, images.width, images.height
    from shown join images using (image_id)
)
select * from final order by group_id, position
