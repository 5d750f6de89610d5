-- purpose: one group with all that its rank and class are made of
-- grain: one row, none where there is no such group
-- reads: group_risk, group_evidence, group_captions
-- param: group_id integer -- the group, as risk tables name it
-- example: scanner query RUN serve/group_facts --param group_id=16777216
with
asked as (
    select * from group_risk where group_id = $group_id
),
commonest as (
    select group_id, max(num_images) as num_same_caption
    from group_captions
    where group_id = $group_id
    group by group_id
),
ranked as (
    select count(*) as num_ranked from group_risk where risk_rank is not null
),
final as (
    select
        asked.group_id, asked.risk_rank, ranked.num_ranked, asked.num_images, asked.num_exact, asked.num_distinct_captions,
        asked.caption_agreement, asked.num_hosts, asked.class, asked.risk_score, asked.representative_id,
        coalesce(commonest.num_same_caption, 0) as num_same_caption,
        coalesce(group_evidence.num_files, asked.num_images) as num_files,
        coalesce(group_evidence.is_protected, false) as is_protected, group_evidence.candidate_id,
        coalesce(group_evidence.num_semantic, 0) as num_semantic, coalesce(group_evidence.num_unverified, 0) as num_unverified,
        coalesce(group_evidence.num_refuted, 0) as num_refuted, coalesce(group_evidence.is_truncated, false) as is_truncated,
        group_evidence.max_distance, group_evidence.varying_share, group_evidence.text_share, group_evidence.flat_share,
        group_evidence.caption_likeness
    from asked
    cross join ranked
    left join group_evidence using (group_id)
    left join commonest using (group_id)
)
select * from final order by group_id
