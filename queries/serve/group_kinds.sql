-- purpose: of which kinds the members of groups are, and how far the farthest is from the representative
-- grain: one row per group and kind
-- reads: groups
-- param: group_ids text -- ids, separated by commas
-- example: scanner query RUN serve/group_kinds --param group_ids=0,16777216
with
asked as (
    select distinct try_cast(unnest(string_split($group_ids, ',')) as bigint) as group_id
),
final as (
    select
        groups.group_id, groups.kind, count(*) as num_images, min(groups.similarity_to_representative) as lowest_similarity
    from asked join groups using (group_id)
    group by groups.group_id, groups.kind
)
select * from final order by group_id, num_images desc, kind
