-- purpose: why images could not be used, commonest reason first; reasons that differ in numbers alone are one
-- grain: one row per status and reason
-- reads: images
-- param: limit integer = 30 -- rows
-- example: scanner query RUN report/unusable_reasons
with
unusable as (
    select
        image_id, key, status, coalesce(error_message, '') as message,
        regexp_replace(coalesce(error_message, ''), '[0-9][0-9,.]*', '#', 'g') as pattern
    from images
    where status != 'ok'
),
reasons as (
    select
        status, case when count(distinct message) = 1 then min(message) else pattern end as reason, count(*) as num_images,
        arg_min(key, image_id, 3) as example_keys
    from unusable
    group by status, pattern
),
final as (
    select *, count(*) over () as num_reasons
    from reasons
)
select * from final order by num_images desc, status, reason limit $limit
