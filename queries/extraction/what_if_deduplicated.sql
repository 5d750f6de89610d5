-- purpose: of the images that came out, how many had a copy that deduplication at each threshold would have removed
-- grain: one row per model and threshold
-- reads: extractions, links, thresholds
-- example: scanner query RUN extraction/what_if_deduplicated
with
came_out as (
    select distinct model_id, image_id
    from extractions
    where verdict in ('extracted', 'retrieved') and image_id is not null
),
nearest as (
    select image_id, max(similarity) as similarity
    from (select left_id as image_id, similarity from links union all select right_id, similarity from links)
    group by image_id
),
final as (
    select
        came_out.model_id, thresholds.threshold, count(*) as num_images_out,
        count(*) filter (where nearest.similarity >= thresholds.threshold) as num_with_copies
    from came_out cross join thresholds left join nearest using (image_id)
    group by came_out.model_id, thresholds.threshold
)
select * from final order by model_id, threshold
