-- purpose: a page of the captions of one group, those on most images first
-- grain: one row per caption of the group
-- reads: group_captions
-- param: group_id integer -- the group, as risk tables name it
-- param: limit integer = 40 -- rows
-- param: offset integer = 0 -- rows left out before them
-- example: scanner query RUN serve/group_captions_page --param group_id=16777216
with
page as (
    select *
    from group_captions
    where group_id = $group_id
    order by num_images desc, caption
    limit $limit offset $offset
),
final as (
    select
        row_number() over (order by num_images desc, caption) as position, caption_hash, left(caption, 10000) as caption, num_images,
        num_hosts, caption_family
    from page
)
select * from final order by position
