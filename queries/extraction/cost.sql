-- purpose: what an extraction cost, and what 500 images of every prompt would have
-- grain: one row per model
-- reads: extractions, generations, prompt_scores
-- param: full integer = 500 -- images of every prompt in the protocol that is compared with (Carlini et al. 2023, section 4.2)
-- example: scanner query RUN extraction/cost
with
scored as (
    select model_id, sum(num_forward_passes)::bigint as prefilter_passes
    from prompt_scores
    group by model_id
),
an_image as (
    select model_id, max(num_forward_passes) as passes_an_image
    from generations
    group by model_id
),
tried as (
    select
        model_id, count(*) as num_prompts, count(*) filter (where stop_reason = 'rejected') as num_rejected,
        sum(num_generations)::bigint as num_generations, sum(num_forward_passes)::bigint as confirm_passes,
        count(*) filter (where verdict in ('extracted', 'retrieved', 'template')) as num_found
    from extractions
    group by model_id
),
final as (
    select
        tried.model_id, tried.num_prompts, tried.num_rejected, tried.num_generations, tried.num_found, scored.prefilter_passes,
        tried.confirm_passes, tried.num_prompts * $full * an_image.passes_an_image as full_passes,
        (tried.num_prompts * $full * an_image.passes_an_image / (scored.prefilter_passes + tried.confirm_passes))::double
            as times_cheaper,
        ((scored.prefilter_passes + tried.confirm_passes) / nullif(tried.num_found, 0))::double as passes_a_find
    from tried join scored using (model_id) left join an_image using (model_id)
)
select * from final order by model_id
