-- purpose: captions that too many images of one group carry word for word: what a model learns by heart first
-- grain: one row per group and caption of more than max_images
-- reads: group_risk, group_captions
-- param: max_images integer = 50 in [1, inf] -- images of one group with one caption, at most
-- param: limit integer = 1000 in [0, inf] -- rows
-- example: scanner query RUN hygiene/likely_memorized --param max_images=10
with
final as (
    select
        group_captions.group_id, group_captions.num_images as num_caption_images, group_captions.caption, group_captions.num_hosts,
        group_risk.num_images, group_risk.class, group_risk.risk_score, group_captions.caption_hash as prompt_id
    from group_captions join group_risk using (group_id)
    where group_captions.num_images > $max_images and group_risk.class <> 'blank'
)
select * from final order by num_caption_images desc, group_id, prompt_id limit $limit
