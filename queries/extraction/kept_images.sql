-- purpose: generated images that were kept as files
-- grain: one row per image
-- reads: generations
-- param: limit integer = 5 -- images of each prompt, by seed
-- example: scanner query RUN extraction/kept_images
with
final as (
    select model_id, prompt_id, seed, image_path
    from generations
    where image_path is not null
    qualify row_number() over (partition by model_id, prompt_id order by seed) <= $limit
)
select * from final order by model_id, prompt_id, seed
