select
    model_id, prompt_id, score_name, share(prompt_id, score_name) + (verdict != 'none')::integer * 0.2 as score,
    case when score_name = 'noise_magnitude' then 8 else 0 end as num_forward_passes
from extractions, (values ('noise_magnitude'), ('denoising_confidence')) as s (score_name)
order by model_id, prompt_id, score_name
