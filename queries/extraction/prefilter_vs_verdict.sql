-- purpose: how well each prefilter tells prompts with a verdict from the others: area under its curve, and what its audit found
-- grain: one row per model and prefilter
-- reads: extractions, prompt_scores, prompts
-- example: scanner query RUN extraction/prefilter_vs_verdict
with
-- Prompts that were confirmed whatever the prefilter said: only of these is the verdict known at every score.
always as (
    select distinct prompt_id
    from prompts
    where lane in ('calibration', 'control')
),
judged as (
    select
        prompt_scores.model_id, prompt_scores.score_name, prompt_scores.score,
        extractions.verdict in ('extracted', 'retrieved', 'template') as is_found
    from prompt_scores
    join extractions on extractions.model_id = prompt_scores.model_id and extractions.prompt_id = prompt_scores.prompt_id
    join always on always.prompt_id = prompt_scores.prompt_id
),
-- Mann and Whitney: the mean rank of those found, ties at their middle.
ranked as (
    select
        *, rank() over (partition by model_id, score_name order by score)
            + (count(*) over (partition by model_id, score_name, score) - 1) / 2.0 as middle_rank
    from judged
),
areas as (
    select
        model_id, score_name, count(*) as num_prompts, count(*) filter (where is_found) as num_found,
        (sum(middle_rank) filter (where is_found) - num_found * (num_found + 1) / 2.0)
            / nullif(num_found * (num_prompts - num_found), 0) as area
    from ranked
    group by model_id, score_name
),
audits as (
    select
        model_id, count(*) filter (where is_audited) as num_audited,
        count(*) filter (where is_audited and verdict in ('extracted', 'retrieved', 'template')) as num_missed_in_audit,
        count(*) filter (where stop_reason = 'rejected') as num_rejected
    from extractions
    group by model_id
),
final as (
    select areas.*, audits.num_audited, audits.num_missed_in_audit, audits.num_rejected
    from areas join audits using (model_id)
)
select * from final order by model_id, score_name
