select model_id, prompt_id, 'someone' as reviewer, verdict, 'looked at' as comment, '2025-01-01T00:00:00+00:00' as at
from extractions
where verdict != 'none'
order by model_id, prompt_id
