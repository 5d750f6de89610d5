-- purpose: a page of the images of one group: the representative, then by id or those least like it first
-- grain: one row per image of the group
-- reads: groups, images, shards
-- param: group_id integer -- the group, as risk tables name it
-- param: sort text = id -- id, or similarity (least like the representative first)
-- param: limit integer = 60 -- rows
-- param: offset integer = 0 -- rows left out before them
-- example: scanner query RUN serve/members_page --param group_id=16777216 --param sort=similarity
with
members as (
    select *, if($sort = 'similarity', similarity_to_representative, 0) as place
    from groups
    where group_id = $group_id
),
representative as (
    select images.sha256
    from members join images using (image_id)
    where members.is_representative
),
page as (
    select *
    from members
    order by is_representative desc, place, image_id
    limit $limit offset $offset
),
final as (
    select
        $offset + row_number() over (order by page.is_representative desc, page.place, page.image_id) as position, page.image_id,
        page.is_representative, page.kind, page.confidence, page.similarity_to_representative as similarity,
        coalesce(images.sha256 = (select any_value(sha256) from representative), false) as is_same_file, images.dataset,
        shards.url as shard, left(images.key, 1000) as key, images.width, images.height, left(images.caption, 10000) as caption
    from page
    join images using (image_id)
    join shards on shards.shard_id = page.image_id >> 24
)
select * from final order by position
