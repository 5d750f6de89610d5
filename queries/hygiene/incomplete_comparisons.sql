-- purpose: comparisons with another set that say less than they seem to: much of it could not take part, or images of the run did not
-- grain: one row per such comparison
-- reads: comparisons, images
-- param: max_share number = 0.01 in [0, 1] -- share of the other set that could not take part, at most
-- example: scanner query RUN hygiene/incomplete_comparisons --param max_share=0
with
here as (
    select count(*) as num_images
    from images
    where status = 'ok'
),
-- Of hashes nothing is known of images that did not take part: those without one, blanks among them, cannot.
judged as (
    select
        comparisons.*,
        comparisons.num_right_unusable / nullif(comparisons.num_right + comparisons.num_right_unusable, 0) as unusable_share,
        case when comparisons.form = 'run' then here.num_images - comparisons.num_left end as num_not_compared
    from comparisons cross join here
),
final as (
    select other, role, form, unusable_share, num_right_unusable, num_right, num_not_compared, num_left, "at"
    from judged
    where num_right = 0 or unusable_share > $max_share or num_not_compared > 0
)
select * from final order by other
