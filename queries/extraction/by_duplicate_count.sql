-- purpose: how often prompts give their image back, by the duplicate count of the image; calibration prompts alone
-- grain: one row per model and stratum of duplicate counts
-- reads: extractions, prompts
-- example: scanner query RUN extraction/by_duplicate_count
with
tried as (
    select extractions.model_id, extractions.verdict, prompts.num_images, prompts.sampling_weight
    from extractions join prompts using (prompt_id)
    where prompts.lane = 'calibration'
),
final as (
    select
        model_id, min(num_images) as least_images, max(num_images) as most_images, count(*) as num_prompts,
        count(*) filter (where verdict = 'extracted') as num_extracted,
        count(*) filter (where verdict = 'retrieved') as num_retrieved,
        count(*) filter (where verdict = 'template') as num_template,
        count(*) filter (where verdict = 'suspected') as num_suspected,
        count(*) filter (where verdict = 'extracted') / count(*) as extracted_share,
        round(sum(sampling_weight))::bigint as num_prompts_stood_for
    from tried
    group by model_id, ceil(log2(greatest(num_images, 1)))
)
select * from final order by model_id, least_images
