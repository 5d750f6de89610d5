-- purpose: prompts with which a model gave back images of the set; where a person reviewed one, the latest review decides
-- grain: one row per model and prompt, where a model has too many
-- reads: extractions, prompts, reviews, images
-- needs: exists (from extractions where $model = 'any' or starts_with(model_id, $model)) -- the run has no extraction, or none of model $model (scanner extract)
-- param: verdicts list = extracted in {extracted, retrieved, template, suspected} -- verdicts that count
-- param: max_prompts integer = 0 in [0, inf] -- prompts of one model, at most
-- param: model text = any -- model_id, or its first digits; any for every model
-- param: limit integer = 1000 in [0, inf] -- rows
-- example: scanner query RUN hygiene/confirmed_extractions --param verdicts=extracted,retrieved
with
reviewed as (
    select
        model_id, prompt_id, arg_max(verdict, ("at", reviewer)) as verdict, arg_max(reviewer, ("at", reviewer)) as reviewer
    from reviews
    group by model_id, prompt_id
),
judged as (
    select
        extractions.model_id, extractions.prompt_id, extractions.image_id, coalesce(reviewed.verdict, extractions.verdict) as verdict,
        extractions.verdict as verdict_of_test, reviewed.reviewer, extractions.tier, extractions.ratio,
        least(extractions.l2, coalesce(extractions.l2_vae, extractions.l2)) as l2
    from extractions left join reviewed using (model_id, prompt_id)
    where $model = 'any' or starts_with(extractions.model_id, $model)
),
counted as (
    select *, count(*) over (partition by model_id) as num_prompts
    from judged
    where list_contains($verdicts, verdict)
),
violators as (
    select *
    from counted
    where num_prompts > $max_prompts
),
texts as (
    select prompt_id, any_value(prompt) as prompt, string_agg(distinct lane, ', ' order by lane) as lanes
    from prompts
    where prompt_id in (select prompt_id from violators)
    group by prompt_id
),
final as (
    select
        violators.verdict, violators.verdict_of_test, violators.reviewer, texts.prompt, texts.lanes, violators.l2, violators.ratio,
        violators.tier, violators.image_id, images.caption as image_caption, violators.prompt_id, violators.model_id
    from violators
    left join texts using (prompt_id)
    left join images on images.image_id = violators.image_id
)
select * from final
order by list_position(['extracted', 'retrieved', 'template', 'suspected'], verdict), l2, prompt_id, model_id
limit $limit
