-- purpose: sets of which too many images are blank or a placeholder ("image not available"), whether in a group or alone
-- grain: one row per dataset above both limits
-- reads: images, groups, group_evidence
-- param: max_share number = 0.01 in [0, 1] -- share of the usable images of a dataset, at most
-- param: max_images integer = 0 in [0, inf] -- as many are let pass whatever their share
-- example: scanner query RUN hygiene/blank_share --param max_share=0 --param max_images=10
with
carded as (
    select groups.image_id, group_evidence.class
    from groups join group_evidence using (group_id)
    where group_evidence.class in ('blank', 'placeholder')
),
per_dataset as (
    select
        images.dataset, count(*) as num_images,
        count(*) filter (where images.is_blank or carded.class = 'blank') as num_blank,
        count(*) filter (where carded.class = 'placeholder' and not coalesce(images.is_blank, false)) as num_placeholder
    from images left join carded using (image_id)
    where images.status = 'ok'
    group by images.dataset
),
final as (
    select dataset, (num_blank + num_placeholder) / num_images as blank_share, num_blank, num_placeholder, num_images
    from per_dataset
    where num_blank + num_placeholder > $max_images and (num_blank + num_placeholder) / num_images > $max_share
)
select * from final order by blank_share desc, dataset
