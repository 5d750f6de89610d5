-- purpose: generated images of prompts that were kept as files
-- grain: one row per image
-- reads: generations
-- param: prompt_ids text -- ids, separated by commas
-- param: files integer = 6 -- images of each model and prompt, by seed
-- example: scanner query RUN serve/kept_generations --param prompt_ids=1,2
with
asked as (
    select distinct try_cast(unnest(string_split($prompt_ids, ',')) as bigint) as prompt_id
),
final as (
    select generations.model_id, generations.prompt_id, generations.seed, generations.generation_id
    from asked join generations using (prompt_id)
    where generations.image_path is not null
    qualify row_number() over (partition by generations.model_id, generations.prompt_id order by generations.seed) <= $files
)
select * from final order by model_id, prompt_id, seed
