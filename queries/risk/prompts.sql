-- purpose: the captions that extraction will try, once each, aimed at the riskiest group that carries them
-- grain: one row per caption of a ranked group
-- reads: group_captions, group_risk
-- example: scanner query RUN risk/prompts
with
ranked as (
    select
        group_captions.caption_hash, group_captions.caption, group_captions.group_id, group_captions.num_images as num_caption_images,
        group_risk.num_images, group_risk.num_hosts
    from group_captions join group_risk using (group_id)
    where group_risk.risk_rank is not null
),
-- One prompt a caption: the group in which most images carry it stands for it.
aimed as (
    select *
    from ranked
    qualify row_number() over (
        partition by caption_hash order by num_caption_images desc, num_images desc, num_hosts desc, group_id
    ) = 1
),
final as (
    select
        caption_hash as prompt_id, 'duplicate' as lane, caption as prompt, group_id, num_images, num_caption_images,
        1.0::double as sampling_weight,
        row_number() over (order by num_caption_images desc, num_images desc, num_hosts desc, group_id, caption_hash) as risk_rank
    from aimed
)
select * from final order by risk_rank
