-- purpose: the files that stand for each of the first groups: the representative, then those least like it; byte-equal ones once
-- grain: one row per group and different file shown
-- reads: group_risk, groups, images, shards
-- param: class text = ranked -- ranked (all but blank), or one class of group_evidence
-- param: groups integer = 60 -- groups, in order of risk rank
-- param: files integer = 8 -- different files of each group
-- example: scanner query RUN report/gallery_members --param groups=5 --param files=3
with
chosen as (
    select group_id
    from group_risk
    where class = $class or ($class = 'ranked' and risk_rank is not null)
    order by risk_rank nulls last, num_images desc, group_id
    limit $groups
),
-- Where no digest is known (ready embeddings) every image counts as a file of its own.
members as (
    select
        groups.group_id, groups.image_id, groups.is_representative, groups.kind, groups.similarity_to_representative as similarity,
        coalesce(images.sha256, encode(groups.image_id::varchar)) as file
    from chosen
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
    select
        *, count(*) over (partition by group_id) as num_files,
        row_number() over (partition by group_id order by is_representative desc, similarity, image_id) as position
    from files
    qualify position <= $files
),
final as (
    select
        shown.group_id, shown.position, shown.image_id, shown.is_representative, shown.kind, shown.similarity, shown.num_copies,
        shown.num_files, images.dataset, shards.url as shard, images.key, images.width, images.height, images.byte_offset,
        images.num_bytes, images.caption, images.url
    from shown
    join images using (image_id)
    join shards on shards.shard_id = shown.image_id >> 24
)
select * from final order by group_id, position
