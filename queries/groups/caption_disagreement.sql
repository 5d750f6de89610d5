-- purpose: groups whose images stand under captions that differ, the largest first: no one caption is learnt for the picture
-- grain: one row per group
-- reads: group_risk, group_captions, group_evidence
-- param: below number = 0.5 -- share of its captioned images with the commonest caption under which a group disagrees
-- param: limit integer = 20 -- rows
-- example: scanner query RUN groups/caption_disagreement --param below=0.2
with
chosen as (
    select group_id, risk_rank, num_images, num_distinct_captions, caption_agreement, class
    from group_risk
    where caption_agreement < $below
    order by num_images desc, caption_agreement, group_id
    limit $limit
),
captions as (
    select group_id, arg_min(caption, (-num_images, caption), 3) as captions
    from group_captions
    where group_id in (select group_id from chosen)
    group by group_id
),
-- Captions may differ in a letter or in every word: caption_likeness tells.
final as (
    select
        chosen.group_id, chosen.risk_rank, chosen.class, chosen.num_images, chosen.num_distinct_captions, chosen.caption_agreement,
        group_evidence.caption_likeness, captions.captions[1] as commonest_caption, captions.captions[2] as second_caption,
        captions.captions[3] as third_caption
    from chosen
    left join captions using (group_id)
    left join group_evidence using (group_id)
)
select * from final order by num_images desc, caption_agreement, group_id
