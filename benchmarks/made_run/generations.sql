select
    (hash(model_id, prompt_id, seed) >> 1)::bigint as generation_id, model_id, prompt_id, seed, 'ddim' as scheduler, 50 as num_inference_steps,
    7.5::double as guidance_scale, case when seed < 4 then 'generations/' || prompt_id || '-' || seed || '.png' end as image_path,
    50 as num_forward_passes
from extractions, unnest(range(num_generations)) as t (seed)
order by model_id, prompt_id, seed
