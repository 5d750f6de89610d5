-- purpose: the captions to worry about first: most images of one group carry them word for word
-- grain: one row per prompt
-- reads: prompts, group_captions, group_risk
-- param: limit integer = 20 -- rows
-- example: scanner query RUN risk/top_captions --param limit=10
with
final as (
    select
        prompts.risk_rank, prompts.prompt as caption, prompts.num_caption_images, prompts.num_images,
        group_captions.num_hosts, group_risk.risk_score, group_captions.caption_family, prompts.group_id, group_risk.representative_id
    from prompts
    join group_captions on group_captions.group_id = prompts.group_id and group_captions.caption_hash = prompts.prompt_id
    join group_risk on group_risk.group_id = prompts.group_id
    where prompts.lane = 'duplicate' and prompts.risk_rank <= $limit
)
select * from final order by risk_rank
