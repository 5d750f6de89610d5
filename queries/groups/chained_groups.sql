-- purpose: components that may be chains: two images far from one another although each is close to some other; what verification left
-- grain: one row per component that the search made
-- reads: candidates, candidate_shape, group_evidence
-- param: below number = 0.9 -- cosine under which two images, or an image and the representative, count as far
-- param: limit integer = 20 -- rows
-- example: scanner query RUN groups/chained_groups --param below=0.95
with
member as (
    select
        group_id, count(*) as num_images, min(similarity_to_representative) as lowest_similarity,
        count(*) filter (where similarity_to_representative < $below) as num_far
    from candidates
    group by group_id
),
verified as (
    select candidate_id, count(*) as num_groups
    from group_evidence
    group by candidate_id
),
final as (
    select
        shape.group_id as candidate_id, member.num_images, shape.diameter_similarity, shape.left_id, shape.right_id,
        member.lowest_similarity, member.num_far, coalesce(verified.num_groups, 0) as num_groups
    from candidate_shape as shape
        join member using (group_id)
        left join verified on verified.candidate_id = shape.group_id
    where shape.diameter_similarity < $below
)
select * from final order by diameter_similarity, candidate_id limit $limit
