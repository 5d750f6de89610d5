-- purpose: every image of one group, the representative first
-- grain: one row per image of the group
-- reads: groups, images, shards
-- param: group_id integer -- the group, as risk tables name it
-- param: limit integer = 1000 -- rows
-- example: scanner query RUN groups/group_members --param group_id=16777216
with
final as (
    select
        groups.image_id, groups.is_representative, groups.kind, groups.similarity_to_representative, images.dataset, shards.url as shard,
        images.key, images.width, images.height, images.caption, images.url
    from groups
    join images using (image_id)
    join shards on shards.shard_id = groups.image_id >> 24
    where groups.group_id = $group_id
)
select * from final order by is_representative desc, image_id limit $limit
