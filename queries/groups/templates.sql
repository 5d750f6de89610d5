-- purpose: template families: groups of images that are equal outside a region that varies; no copies of one picture
-- grain: one row per group of class template
-- reads: group_evidence, group_risk, group_captions
-- param: limit integer = 20 -- rows
-- example: scanner query RUN groups/templates --param limit=5
with
chosen as (
    select group_id, num_images, num_files, num_semantic, varying_share, caption_likeness
    from group_evidence
    where class = 'template'
    order by num_images desc, group_id
    limit $limit
),
commonest as (
    select group_id, arg_min(caption, (-num_images, caption)) as commonest_caption, mode(caption_family) as caption_family
    from group_captions
    where group_id in (select group_id from chosen)
    group by group_id
),
final as (
    select
        chosen.group_id, group_risk.risk_rank, chosen.num_images, chosen.num_files, chosen.num_semantic, chosen.varying_share,
        chosen.caption_likeness, group_risk.num_distinct_captions, group_risk.num_hosts, group_risk.representative_id,
        commonest.commonest_caption, commonest.caption_family
    from chosen
    left join group_risk using (group_id)
    left join commonest using (group_id)
)
select * from final order by num_images desc, group_id
