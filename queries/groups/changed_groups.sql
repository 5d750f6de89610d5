-- purpose: groups that one of two runs lacks, the largest first, and what became of their images in the other
-- grain: one row per group of either run that is no group of the same images in the other
-- reads: images, groups, other.images, other.groups
-- param: match text = key -- what makes an image the same in both runs: key, sha256 or image_id (one source, the same shards)
-- param: limit integer = 20 -- rows
-- example: scanner query RUN groups/changed_groups --other RUN2 --param limit=100
with
here as (
    select match_hash($match, images.image_id, images.key, images.sha256) as identity, groups.group_id
    from images left join groups using (image_id)
),
there as (
    select match_hash($match, images.image_id, images.key, images.sha256) as identity, groups.group_id
    from other.images as images left join other.groups as groups using (image_id)
),
-- Two groups are the same if their images are: as many, of equal sum of hashes.
groups_here as (
    select group_id, count(*) as num_images, sum(hash(identity)) filter (where identity is not null) as members
    from here
    where group_id is not null
    group by group_id
),
groups_there as (
    select group_id, count(*) as num_images, sum(hash(identity)) filter (where identity is not null) as members
    from there
    where group_id is not null
    group by group_id
),
changed as (
    select 'this' as run, group_id, num_images
    from groups_here anti join groups_there using (num_images, members)
    union all
    select 'other', group_id, num_images
    from groups_there anti join groups_here using (num_images, members)
),
chosen as (
    select run, group_id, num_images
    from changed
    order by num_images desc, run desc, group_id
    limit $limit
),
members as (
    select chosen.run, chosen.group_id, here.identity
    from chosen join here on chosen.run = 'this' and here.group_id = chosen.group_id
    union all
    select chosen.run, chosen.group_id, there.identity
    from chosen join there on chosen.run = 'other' and there.group_id = chosen.group_id
),
-- One row an image of the other side, whatever shares its match there.
counterparts as (
    select 'this' as run, identity, max(group_id) as group_id
    from there
    where identity in (select identity from members where run = 'this')
    group by identity
    union all
    select 'other', identity, max(group_id)
    from here
    where identity in (select identity from members where run = 'other')
    group by identity
),
fates as (
    select
        members.run, members.group_id, count(distinct counterparts.group_id) as num_groups_there,
        count(*) filter (where counterparts.identity is not null and counterparts.group_id is null) as num_alone_there,
        count(*) filter (where counterparts.identity is null) as num_absent_there
    from members left join counterparts using (run, identity)
    group by members.run, members.group_id
),
final as (
    select chosen.run, chosen.group_id, chosen.num_images, fates.num_groups_there, fates.num_alone_there, fates.num_absent_there
    from chosen join fates using (run, group_id)
)
select * from final order by num_images desc, run desc, group_id
