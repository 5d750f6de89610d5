-- purpose: of the groups asked for, those of which a model gave an image back, by the strongest verdict
-- grain: one row per such group
-- reads: extractions
-- param: group_ids text -- ids, separated by commas
-- example: scanner query RUN report/given_back_groups --param group_ids=0,1
with
asked as (
    select distinct try_cast(unnest(string_split($group_ids, ',')) as bigint) as group_id
),
found as (
    select asked.group_id, model_id, list_position(['extracted', 'retrieved', 'template'], verdict) as strength
    from asked join extractions on extractions.image_group_id = asked.group_id
    where verdict in ('extracted', 'retrieved', 'template')
),
final as (
    select
        group_id, ['extracted', 'retrieved', 'template'][min(strength)] as verdict, count(*) as num_prompts,
        count(distinct model_id) as num_models
    from found
    group by group_id
)
select * from final order by group_id
