-- purpose: a page of what came out of models: prompts with a verdict, the strongest evidence first
-- grain: one row per model and prompt with a verdict other than none
-- reads: extractions, prompts, images
-- param: verdict text = any -- any (all but none), or one verdict of table extractions
-- param: limit integer = 20 -- rows
-- param: offset integer = 0 -- rows left out before them
-- example: scanner query RUN serve/extractions_page --param verdict=extracted
with
fitting as (
    select
        *, least(l2, coalesce(l2_vae, l2)) as nearest_l2,
        list_position(['extracted', 'retrieved', 'template', 'suspected'], verdict) as place
    from extractions
    where verdict != 'none' and ($verdict = 'any' or verdict = $verdict)
),
page as (
    select *
    from fitting
    order by place, nearest_l2, prompt_id, model_id
    limit $limit offset $offset
),
texts as (
    select
        prompt_id, any_value(left(prompt, 10000)) as prompt, string_agg(distinct lane, ', ' order by lane) as lanes,
        max(num_caption_images) as num_caption_images, max(num_images) as num_images
    from prompts
    where prompt_id in (select prompt_id from page)
    group by prompt_id
),
final as (
    select
        page.place, page.verdict, page.tier, texts.prompt, texts.lanes, texts.num_caption_images, texts.num_images,
        page.nearest_l2 as l2, page.ratio, page.mask_share, page.clique_size, page.num_generations, page.image_id,
        page.image_group_id, left(images.caption, 10000) as image_caption, images.dataset, left(images.key, 1000) as key,
        images.status, page.prompt_id, page.model_id, (select count(*) from fitting) as num_fitting
    from page
    left join texts using (prompt_id)
    left join images on images.image_id = page.image_id
)
select * from final order by place, l2, prompt_id, model_id
