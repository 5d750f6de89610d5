-- purpose: the filter that needs no training data, the share of generations in the clique, held against what they match
-- grain: one row per model and share of generations in the largest clique
-- reads: extractions
-- param: max_l2 number = 0.15 -- l2 up to which a generation is a training image; 0.113 for the strict tier
-- example: scanner query RUN extraction/filter_precision --param max_l2=0.113
with
tried as (
    select
        model_id, clique_size / num_generations as clique_share,
        coalesce(least(l2, coalesce(l2_vae, l2)) <= $max_l2 and ratio <= ratio_limit, false) as is_match
    from extractions
    where num_generations > 0
),
shares as (
    select model_id, clique_share, count(*) as num_prompts, count(*) filter (where is_match) as num_matching
    from tried
    group by model_id, clique_share
),
-- Flagged: every prompt of this share or a higher one (Carlini et al. 2023, Fig. 4).
final as (
    select
        model_id, clique_share,
        sum(num_prompts) over flagged as num_flagged, sum(num_matching) over flagged as num_flagged_matching,
        sum(num_matching) over flagged / sum(num_prompts) over flagged as precision,
        sum(num_matching) over flagged / nullif(sum(num_matching) over (partition by model_id), 0) as recall
    from shares
    window flagged as (partition by model_id order by clique_share desc rows between unbounded preceding and current row)
)
select model_id, clique_share, num_flagged::bigint as num_flagged, num_flagged_matching::bigint as num_flagged_matching,
    precision, recall
from final order by model_id, clique_share desc
