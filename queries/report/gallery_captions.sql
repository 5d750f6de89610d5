-- purpose: the commonest captions of each of the first groups
-- grain: one row per group and caption shown
-- reads: group_risk, group_captions
-- param: class text = ranked -- ranked (all but blank), or one class of group_evidence
-- param: groups integer = 60 -- groups, in order of risk rank
-- param: captions integer = 4 -- captions of each group
-- example: scanner query RUN report/gallery_captions --param groups=5
with
chosen as (
    select group_id
    from group_risk
    where class = $class or ($class = 'ranked' and risk_rank is not null)
    order by risk_rank nulls last, num_images desc, group_id
    limit $groups
),
final as (
    select
        group_id, row_number() over (partition by group_id order by num_images desc, caption) as position,
        caption, num_images, num_hosts, caption_family
    from chosen join group_captions using (group_id)
    qualify position <= $captions
)
select * from final order by group_id, position
