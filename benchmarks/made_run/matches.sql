select
    (hash(model_id, prompt_id, seed) >> 1)::bigint as generation_id, image_id, distance_name, share(prompt_id, seed)::double as distance,
    null::double as mask_share
from extractions, unnest(range(clique_size)) as s (seed), (values ('l2'), ('ratio')) as d (distance_name)
where image_id is not null
order by generation_id, distance_name
