-- purpose: the groups to look at first, by risk rank; blanks are left out unless asked for
-- grain: one row per group
-- reads: group_risk, images, group_captions
-- param: limit integer = 20 -- rows
-- param: class text = ranked -- ranked (all but blank), or one class of group_evidence
-- example: scanner query RUN groups/top_groups --param limit=5
with
chosen as (
    select *
    from group_risk
    where class = $class or ($class = 'ranked' and risk_rank is not null)
    order by risk_rank nulls last, num_images desc, group_id
    limit $limit
),
commonest as (
    select group_id, arg_min(caption, (-num_images, caption)) as commonest_caption
    from group_captions
    where group_id in (select group_id from chosen)
    group by group_id
),
final as (
    select
        chosen.risk_rank, chosen.group_id, chosen.num_images, chosen.num_exact, chosen.num_distinct_captions, chosen.caption_agreement,
        chosen.num_hosts, chosen.risk_score, chosen.class, chosen.representative_id, images.width, images.height, commonest.commonest_caption
    from chosen
    join images on images.image_id = chosen.representative_id
    left join commonest on commonest.group_id = chosen.group_id
)
select * from final order by risk_rank nulls last, num_images desc, group_id
