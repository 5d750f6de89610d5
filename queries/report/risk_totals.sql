-- purpose: how much of the set a model may memorize: captions repeated often, and how many images the prior curve expects
-- grain: one row
-- reads: group_risk, prompts
-- param: often integer = 10 -- images of one group with one caption, from which a caption counts as repeated often
-- param: very_often integer = 100 -- the same, from which Carlini et al. 2023 (Fig. 5) found most of what they extracted
-- example: scanner query RUN report/risk_totals --param very_often=50
with
of_captions as (
    select
        count(*) filter (where num_caption_images >= $often) as num_often,
        count(*) filter (where num_caption_images >= $very_often) as num_very_often,
        coalesce(max(num_caption_images), 0) as most_repeated
    from prompts
    where lane = 'duplicate'
),
of_groups as (
    select coalesce(sum(risk_score), 0)::double as expected_images
    from group_risk
),
final as (
    select of_captions.*, of_groups.expected_images
    from of_captions, of_groups
)
select * from final
