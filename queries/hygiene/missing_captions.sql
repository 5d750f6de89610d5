-- purpose: sets of which too many images have no caption, or an empty one
-- grain: one row per dataset above both limits
-- reads: images
-- param: max_share number = 0.05 in [0, 1] -- share of the usable images of a dataset, at most
-- param: max_images integer = 0 in [0, inf] -- as many are let pass whatever their share
-- example: scanner query RUN hygiene/missing_captions --param max_share=0.01
with
per_dataset as (
    select
        dataset, count(*) as num_images, count(*) filter (where caption is null) as num_without,
        count(*) filter (where not regexp_matches(caption, '\S')) as num_empty
    from images
    where status = 'ok'
    group by dataset
),
final as (
    select dataset, (num_without + num_empty) / num_images as missing_share, num_without, num_empty, num_images
    from per_dataset
    where num_without + num_empty > $max_images and (num_without + num_empty) / num_images > $max_share
)
select * from final order by missing_share desc, dataset
