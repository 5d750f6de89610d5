-- purpose: sets of which too many images could not be used
-- grain: one row per dataset above both limits
-- reads: images
-- param: max_share number = 0.05 in [0, 1] -- share of the images of a dataset, at most
-- param: max_images integer = 0 in [0, inf] -- as many are let pass whatever their share
-- param: statuses list = unreadable,missing,too_small,too_large in {unreadable, missing, too_small, too_large} -- what counts
-- example: scanner query RUN hygiene/unreadable_share --param max_share=0.01 --param statuses=unreadable
with
per_reason as (
    select
        dataset, list_contains($statuses, status) as is_lost, status, case when status <> 'ok' then error_message end as reason,
        count(*) as num_images
    from images
    group by all
),
per_dataset as (
    select
        dataset, sum(num_images)::bigint as num_images,
        coalesce(sum(num_images) filter (where is_lost), 0)::bigint as num_unreadable,
        arg_min({'status': status, 'reason': reason}, (-num_images, status, reason)) filter (where is_lost) as commonest
    from per_reason
    group by dataset
),
final as (
    select
        dataset, num_unreadable / num_images as unreadable_share, num_unreadable, num_images, commonest.status as commonest_status,
        commonest.reason as commonest_reason
    from per_dataset
    where num_unreadable > $max_images and num_unreadable / num_images > $max_share
)
select * from final order by unreadable_share desc, dataset
