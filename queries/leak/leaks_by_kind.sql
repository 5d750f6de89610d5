-- purpose: of every set that the run was compared with, how much the two have in common, by kind; a clean one has a row of zeros
-- grain: one row per other set and kind that occurs, or one of kind none
-- reads: comparisons, leaks, images
-- param: other text = all -- name of one other set, or all
-- example: scanner query RUN leak/leaks_by_kind
with
chosen as (
    select * from comparisons where $other = 'all' or other = $other
),
-- Blanks are alike and show nothing: a leak of one is no leak of a picture.
counted as (
    select
        leaks.right_dataset as other, leaks.kind, count(*) as num_pairs, count(distinct leaks.left_id) as num_left_found,
        count(distinct leaks.right_id) as num_right_found,
        count(distinct leaks.left_id) filter (where images.is_blank) as num_left_blank
    from leaks left join images on images.image_id = leaks.left_id
    group by leaks.right_dataset, leaks.kind
),
final as (
    select
        chosen.other, chosen.role, chosen.form, coalesce(counted.kind, 'none') as kind,
        coalesce(counted.num_pairs, 0) as num_pairs, coalesce(counted.num_left_found, 0) as num_left_found,
        coalesce(counted.num_left_blank, 0) as num_left_blank, coalesce(counted.num_right_found, 0) as num_right_found,
        chosen.num_left, chosen.num_right,
        case when chosen.num_right > 0 then coalesce(counted.num_right_found, 0) / chosen.num_right::double end as right_share
    from chosen left join counted using (other)
)
select * from final order by other, list_position(['exact', 'near', 'semantic', 'unverified', 'none'], kind)
