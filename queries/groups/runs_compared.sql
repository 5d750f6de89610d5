-- purpose: two runs side by side, before and after or two encoders: images that one lacks, groups gained and lost, what could be removed
-- grain: one row per measure
-- reads: images, groups, other.images, other.groups
-- param: match text = key -- what makes an image the same in both runs: key, sha256 or image_id (one source, the same shards)
-- example: scanner query RUN groups/runs_compared --other RUN2 --param match=sha256
with
here as (
    select
        match_hash($match, images.image_id, images.key, images.sha256) as identity, images.status = 'ok' as is_ok,
        groups.group_id
    from images left join groups using (image_id)
),
there as (
    select
        match_hash($match, images.image_id, images.key, images.sha256) as identity, images.status = 'ok' as is_ok,
        groups.group_id
    from other.images as images left join other.groups as groups using (image_id)
),
-- Four bits an image: in this run, in the other, in a group of this run, of the other. Then they are sixteen rows.
matched as (
    select identity, bit_or(bits) as bits
    from (
        select identity, case when group_id is null then 1 else 5 end as bits from here
        union all
        select identity, case when group_id is null then 2 else 10 end from there
    )
    where identity is not null
    group by identity
),
counted as (
    select bits, count(*) as num_images
    from matched
    group by bits
),
of_images as (
    select
        coalesce(sum(num_images) filter (where bits & 1 != 0), 0)::bigint as here,
        coalesce(sum(num_images) filter (where bits & 2 != 0), 0)::bigint as there,
        coalesce(sum(num_images) filter (where bits & 3 = 1), 0)::bigint as only_here,
        coalesce(sum(num_images) filter (where bits & 3 = 2), 0)::bigint as only_there,
        coalesce(sum(num_images) filter (where bits = 7), 0)::bigint as grouped_only_here,
        coalesce(sum(num_images) filter (where bits = 11), 0)::bigint as grouped_only_there
    from counted
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
of_rows_here as (
    select count(*) as num_images, count(*) filter (where is_ok) as num_usable
    from here
),
of_rows_there as (
    select count(*) as num_images, count(*) filter (where is_ok) as num_usable
    from there
),
of_groups_here as (
    select count(*) as num_groups, coalesce(sum(num_images), 0)::bigint as num_grouped, coalesce(max(num_images), 0) as largest
    from groups_here
),
of_groups_there as (
    select count(*) as num_groups, coalesce(sum(num_images), 0)::bigint as num_grouped, coalesce(max(num_images), 0) as largest
    from groups_there
),
changed_here as (
    select count(*) as num_groups
    from groups_here anti join groups_there using (num_images, members)
),
changed_there as (
    select count(*) as num_groups
    from groups_there anti join groups_here using (num_images, members)
),
measures as (
    select 1 as position, 'images' as measure, h.num_images as this_run, t.num_images as other_run from of_rows_here as h, of_rows_there as t
    union all
    select 2, 'images that could be used', h.num_usable, t.num_usable from of_rows_here as h, of_rows_there as t
    union all
    select 3, 'images without a match of their own', h.num_images - i.here, t.num_images - i.there
    from of_rows_here as h, of_rows_there as t, of_images as i
    union all
    select 4, 'images that the other run lacks', only_here, only_there from of_images
    union all
    select 5, 'images in a group', h.num_grouped, t.num_grouped from of_groups_here as h, of_groups_there as t
    union all
    select 6, 'images in a group that the other run has in none', grouped_only_here, grouped_only_there from of_images
    union all
    select 7, 'images removable', h.num_grouped - h.num_groups, t.num_grouped - t.num_groups from of_groups_here as h, of_groups_there as t
    union all
    select 8, 'groups', h.num_groups, t.num_groups from of_groups_here as h, of_groups_there as t
    union all
    select 9, 'groups that the other run lacks', h.num_groups, t.num_groups from changed_here as h, changed_there as t
    union all
    select 10, 'images in the largest group', h.largest, t.largest from of_groups_here as h, of_groups_there as t
),
final as (
    select position, measure, this_run, other_run, this_run - other_run as difference
    from measures
)
select measure, this_run, other_run, difference from final order by position
