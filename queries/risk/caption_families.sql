-- purpose: captions that many groups share but for a word or a number: templates of a shop or an archive, weak evidence of risk
-- grain: one row per mask
-- reads: group_captions
-- param: limit integer = 20 -- rows
-- example: scanner query RUN risk/caption_families
with
final as (
    select
        caption_family, count(distinct group_id) as num_groups, sum(num_images)::bigint as num_images,
        count(distinct caption_hash) as num_captions, min(caption) as example_caption
    from group_captions
    where caption_family is not null
    group by caption_family
)
select * from final order by num_groups desc, num_images desc, caption_family limit $limit
