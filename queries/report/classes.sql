-- purpose: what the groups are: pictures that are simply repeated, and classes that are not to be deleted without a look
-- grain: one row per class that occurs
-- reads: group_risk, group_evidence
-- example: scanner query RUN report/classes
with
final as (
    select
        group_risk.class, group_risk.class != 'picture' as is_protected, count(*) as num_groups,
        sum(group_risk.num_images)::bigint as num_images, sum(group_risk.num_images - 1)::bigint as num_removable,
        max(group_risk.num_images) as largest_group, coalesce(sum(group_evidence.num_unverified), 0)::bigint as num_unverified,
        coalesce(sum(group_evidence.num_refuted), 0)::bigint as num_refuted
    from group_risk left join group_evidence using (group_id)
    group by group_risk.class
)
select * from final order by num_images desc, class
