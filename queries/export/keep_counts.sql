-- purpose: how many images and bytes each rule of a keep policy let stay or removed
-- grain: one row per fate and rule
-- reads: keep, images
-- example: scanner query RUN export/keep_counts
with
final as (
    select
        keep.is_kept, keep.rule, count(*) as num_images, coalesce(sum(images.num_bytes), 0)::bigint as num_bytes,
        sum(keep.sample_weight) as sum_weight
    from keep
    join images on images.image_id = keep.image_id
    group by keep.is_kept, keep.rule
)
select * from final order by is_kept desc, num_images desc, rule
