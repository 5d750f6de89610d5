-- purpose: groups that may be chains: two members far from one another although each is close to some other member
-- grain: one row per group
-- reads: groups, group_shape, group_risk
-- param: below number = 0.9 -- cosine under which two members, or a member and the representative, count as far
-- param: limit integer = 20 -- rows
-- example: scanner query RUN groups/chained_groups --param below=0.95
with
member as (
    select
        group_id, min(similarity_to_representative) as lowest_similarity,
        count(*) filter (where similarity_to_representative < $below) as num_far
    from groups
    group by group_id
),
final as (
    select
        group_shape.group_id, group_risk.num_images, group_shape.diameter_similarity, group_shape.left_id, group_shape.right_id,
        member.lowest_similarity, member.num_far, group_risk.risk_rank
    from group_shape join member using (group_id) join group_risk using (group_id)
    where group_shape.diameter_similarity < $below
)
select * from final order by diameter_similarity, group_id limit $limit
