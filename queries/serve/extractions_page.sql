-- purpose: a page of what came out of models: prompts with a verdict, the strongest evidence first
-- grain: one row per model and prompt with a verdict other than none
-- reads: extractions, prompts, images
-- param: verdict text = any -- any (all but none), or one verdict of table extractions
-- param: limit integer = 20 -- rows
-- param: offset integer = 0 -- rows left out before them
-- example: scanner query RUN serve/extractions_page --param verdict=extracted
with
texts as (
    select
        prompt_id, any_value(prompt) as prompt, string_agg(distinct lane, ', ' order by lane) as lanes,
        max(num_caption_images) as num_caption_images, max(num_images) as num_images
    from prompts
    group by prompt_id
),
fitting as (
    select *, least(l2, coalesce(l2_vae, l2)) as nearest_l2
    from extractions
    where verdict != 'none' and ($verdict = 'any' or verdict = $verdict)
),
final as (
    select
        fitting.verdict, fitting.tier, texts.prompt, texts.lanes, texts.num_caption_images, texts.num_images,
        fitting.nearest_l2 as l2, fitting.ratio, fitting.mask_share, fitting.clique_size, fitting.num_generations,
        fitting.image_id, fitting.image_group_id, images.caption as image_caption, images.dataset, images.key, images.status,
        fitting.prompt_id, fitting.model_id, (select count(*) from fitting) as num_fitting
    from fitting
    left join texts using (prompt_id)
    left join images on images.image_id = fitting.image_id
)
select * from final
order by list_position(['extracted', 'retrieved', 'template', 'suspected'], verdict), l2, prompt_id, model_id
limit $limit offset $offset
