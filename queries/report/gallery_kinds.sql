-- purpose: of which kinds the members of each of the first groups are, and how far the farthest is from the representative
-- grain: one row per group and kind
-- reads: group_risk, groups
-- param: class text = ranked -- ranked (all but blank), or one class of group_evidence
-- param: groups integer = 60 -- groups, in order of risk rank
-- example: scanner query RUN report/gallery_kinds --param groups=5
with
chosen as (
    select group_id
    from group_risk
    where class = $class or ($class = 'ranked' and risk_rank is not null)
    order by risk_rank nulls last, num_images desc, group_id
    limit $groups
),
final as (
    select groups.group_id, groups.kind, count(*) as num_images, min(groups.similarity_to_representative) as lowest_similarity
    from chosen join groups using (group_id)
    group by groups.group_id, groups.kind
)
select * from final order by group_id, num_images desc, kind
