-- purpose: what came out of a model: every prompt with a verdict, the strongest evidence first
-- grain: one row per model and prompt with a verdict other than none
-- reads: extractions, prompts, images
-- param: limit integer = 50 -- rows
-- example: scanner query RUN extraction/verdicts --param limit=10
with
texts as (
    select
        prompt_id, any_value(prompt) as prompt, string_agg(distinct lane, ', ' order by lane) as lanes,
        max(num_caption_images) as num_caption_images, max(num_images) as num_images
    from prompts
    group by prompt_id
),
final as (
    select
        extractions.verdict, extractions.tier, texts.prompt, texts.lanes, texts.num_caption_images, texts.num_images,
        least(extractions.l2, coalesce(extractions.l2_vae, extractions.l2)) as l2, extractions.ratio, extractions.mask_share,
        extractions.clique_size, extractions.num_generations, extractions.image_id, images.caption as image_caption,
        extractions.prompt_id, extractions.model_id
    from extractions join texts using (prompt_id) left join images on images.image_id = extractions.image_id
    where extractions.verdict != 'none'
)
select * from final
order by list_position(['extracted', 'retrieved', 'template', 'suspected'], verdict), l2, prompt_id, model_id
limit $limit
