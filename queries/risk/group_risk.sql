-- purpose: every group with what its risk is made of, ranked: images with one caption, then images, then hosts
-- grain: one row per group
-- reads: groups, group_evidence, images, group_captions
-- param: k50 number = 300 -- images with the caption at which the prior reaches half its maximum
-- param: slope number = 2 -- steepness of the prior in log k
-- param: max_probability number = 0.9 -- what the prior tends to
-- example: scanner query RUN risk/group_risk --param k50=100
with
members as (
    select
        groups.group_id, groups.image_id, groups.is_representative, groups.kind,
        images.caption, host(images.url) as host
    from groups join images using (image_id)
),
per_group as (
    select
        group_id,
        max(image_id) filter (where is_representative) as representative_id,
        count(*) as num_images,
        count(*) filter (where kind = 'exact') as num_exact,
        count(caption) as num_captioned,
        count(distinct host) as num_hosts
    from members
    group by group_id
),
per_caption as (
    select group_id, count(*) as num_distinct_captions, max(num_images) as num_same_caption
    from group_captions
    group by group_id
),
scored as (
    select
        per_group.*, group_evidence.class,
        coalesce(per_caption.num_distinct_captions, 0) as num_distinct_captions,
        coalesce(per_caption.num_same_caption, 0) as num_same_caption,
        per_caption.num_same_caption / nullif(per_group.num_captioned, 0) as caption_agreement,
        case
            when group_evidence.class = 'blank' or per_caption.num_same_caption is null then 0
            else $max_probability / (1 + pow($k50 / per_caption.num_same_caption, $slope))
        end as risk_score
    from per_group join group_evidence using (group_id) left join per_caption using (group_id)
),
ranked as (
    select group_id, row_number() over (order by num_same_caption desc, num_images desc, num_hosts desc, group_id) as risk_rank
    from scored
    where class != 'blank'
),
final as (
    select
        scored.group_id, scored.representative_id, scored.num_images, scored.num_exact, scored.num_distinct_captions,
        scored.caption_agreement::double as caption_agreement, scored.num_hosts, scored.class,
        scored.risk_score::double as risk_score, ranked.risk_rank
    from scored left join ranked using (group_id)
)
select * from final order by risk_rank nulls last, group_id
