-- purpose: what each model gave back: prompts by verdict, and how many different images
-- grain: one row per model
-- reads: extractions
-- example: scanner query RUN report/verdict_totals
with
final as (
    select
        model_id, count(*) as num_prompts,
        count(*) filter (where verdict = 'extracted') as num_extracted,
        count(*) filter (where verdict = 'retrieved') as num_retrieved,
        count(*) filter (where verdict = 'template') as num_template,
        count(*) filter (where verdict = 'suspected') as num_suspected,
        -- Copies of one image are one image: those of a group count once.
        count(distinct coalesce(image_group_id, image_id)) filter (where verdict in ('extracted', 'retrieved')) as num_images
    from extractions
    group by model_id
)
select * from final order by num_images desc, num_prompts desc, model_id
