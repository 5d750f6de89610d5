-- purpose: a page of the captions of groups that hold a text, those that most images of one group carry first
-- grain: one row per group and caption
-- reads: group_captions, group_risk
-- param: caption text -- part of the caption, in upper or lower case; empty: all captions
-- param: min_images integer = 1 -- images of the group with this caption, at least
-- param: limit integer = 50 -- rows
-- param: offset integer = 0 -- rows left out before them
-- example: scanner query RUN serve/captions_page --param caption=boat
with
fitting as (
    select group_id, caption_hash, caption, num_images as num_caption_images, num_hosts, caption_family
    from group_captions
    where num_images >= $min_images and ($caption = '' or contains(lower(caption), lower($caption)))
),
page as (
    select fitting.*, group_risk.num_images, group_risk.risk_score, group_risk.risk_rank, group_risk.class, group_risk.representative_id
    from fitting join group_risk using (group_id)
    order by num_caption_images desc, num_images desc, num_hosts desc, group_id, caption_hash
    limit $limit offset $offset
),
final as (
    select
        left(caption, 10000) as caption, group_id, caption_hash, num_caption_images, num_images, num_hosts, risk_score, risk_rank,
        class, caption_family, representative_id, (select count(*) from fitting) as num_fitting
    from page
)
select * from final order by num_caption_images desc, num_images desc, num_hosts desc, group_id, caption_hash
