-- purpose: groups that may be chains: members far from the representative although each is close to some other member
-- grain: one row per group
-- reads: groups, group_risk
-- param: below number = 0.9 -- cosine to the representative under which a member counts as far
-- param: limit integer = 20 -- rows
-- example: scanner query RUN groups/chained_groups --param below=0.95
with
final as (
    select
        groups.group_id, any_value(group_risk.num_images) as num_images, min(groups.similarity_to_representative) as lowest_similarity,
        count(*) filter (where groups.similarity_to_representative < $below) as num_far, any_value(group_risk.risk_rank) as risk_rank
    from groups join group_risk using (group_id)
    group by groups.group_id
    having num_far > 0
)
select * from final order by num_far desc, group_id limit $limit
