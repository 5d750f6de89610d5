-- purpose: controls that got a verdict: each one to be looked at, as it is false, or a leak that its caption does not tell of
-- grain: one row per model and control with a verdict other than none
-- reads: extractions, prompts, images
-- example: scanner query RUN extraction/controls_flagged
with
final as (
    select
        extractions.verdict, extractions.control_use, prompts.prompt, prompts.num_images, extractions.image_id,
        images.caption as image_caption, least(extractions.l2, coalesce(extractions.l2_vae, extractions.l2)) as l2,
        extractions.ratio, extractions.clique_size, extractions.num_generations, extractions.prompt_id, extractions.model_id
    from extractions
    join prompts on prompts.prompt_id = extractions.prompt_id and prompts.lane = 'control'
    left join images on images.image_id = extractions.image_id
    where extractions.verdict != 'none'
)
select * from final order by verdict, l2, prompt_id, model_id
