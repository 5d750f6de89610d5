-- purpose: how much of the set could be used
-- grain: one row per dataset, status and reason
-- reads: images
-- example: scanner query RUN hygiene/status_counts
with
final as (
    select
        dataset, status, coalesce(error_message, '') as reason, count(*) as num_images, count(*) filter (where caption is null) as num_without_caption,
        count(*) filter (where is_blank) as num_blank
    from images
    group by all
)
select * from final order by dataset, num_images desc, status, reason
