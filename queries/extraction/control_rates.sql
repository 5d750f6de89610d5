-- purpose: of the controls that measure, how many got which verdict: what a verdict on another prompt is worth
-- grain: one row per model
-- reads: extractions
-- example: scanner query RUN extraction/control_rates
with
final as (
    select
        model_id, count(*) as num_controls,
        count(*) filter (where verdict in ('extracted', 'retrieved', 'template')) as num_with_verdict,
        count(*) filter (where verdict = 'extracted') as num_extracted,
        count(*) filter (where verdict = 'retrieved') as num_retrieved,
        count(*) filter (where verdict = 'template') as num_template,
        count(*) filter (where verdict = 'suspected') as num_suspected
    from extractions
    where control_use = 'rates'
    group by model_id
)
select * from final order by model_id
