-- purpose: the figures at the head of the report: what was read, what could be used, how much of it is duplicated
-- grain: one row
-- reads: shards, images, group_risk, group_captions, prompts
-- example: scanner query RUN report/overview
with
per_shard as (
    select image_id >> 24 as shard_id, count(*) filter (where status != 'ok') as num_lost
    from images
    group by all
),
of_shards as (
    select
        count(*) as num_shards, count(*) filter (where shards.status = 'broken') as num_broken_shards,
        count(*) filter (where shards.status = 'broken' or per_shard.num_lost > 0) as num_lossy_shards
    from shards left join per_shard using (shard_id)
    where shards.status != 'superseded'
),
of_images as (
    select
        count(*) as num_images,
        count(*) filter (where status = 'ok') as num_ok,
        count(*) filter (where status = 'unreadable') as num_unreadable,
        count(*) filter (where status = 'missing') as num_missing,
        count(*) filter (where status = 'too_small') as num_too_small,
        count(*) filter (where status = 'too_large') as num_too_large,
        count(*) filter (where is_blank) as num_blank,
        count(*) filter (where caption is null) as num_without_caption
    from images
),
of_groups as (
    select
        count(*) as num_groups,
        count(*) filter (where class != 'blank') as num_ranked_groups,
        count(*) filter (where class = 'blank') as num_blank_groups,
        coalesce(sum(num_images), 0)::bigint as num_grouped,
        coalesce(sum(num_images - 1), 0)::bigint as num_removable,
        coalesce(sum(num_images - 1) filter (where class != 'picture'), 0)::bigint as num_removable_protected,
        coalesce(max(num_images) filter (where class != 'blank'), 0)::bigint as largest_group,
        coalesce(max(num_images) filter (where class = 'blank'), 0)::bigint as largest_blank_group
    from group_risk
),
of_captions as (
    select count(distinct caption_family) as num_families
    from group_captions
),
of_prompts as (
    select count(*) as num_ranked_captions
    from prompts
    where lane = 'duplicate'
),
final as (
    select * from of_shards, of_images, of_groups, of_captions, of_prompts
)
select * from final
