-- purpose: every prompt that extraction will ever try, and why: lanes duplicate, template, outlier, calibration and control
-- grain: one row per prompt and lane
-- reads: images, groups, neighbors, group_captions, group_risk
-- param: seed integer = 0 -- of what is drawn at random
-- param: num_template integer = 8 -- captions of each template family
-- param: num_outlier integer = 500 -- images without a duplicate, farthest from all others first
-- param: num_calibration integer = 40 -- captions of each stratum: groups of 1, 2, 3 to 4, 5 to 8 ... images
-- param: num_control integer = 640 -- captions that one image carries, which has no duplicate
-- example: scanner query RUN risk/prompts --param num_control=100
with
-- One prompt a caption: the ranked group in which most images carry it stands for it.
ranked as (
    select
        group_captions.caption_hash as prompt_id, group_captions.caption as prompt, group_captions.group_id,
        group_captions.num_images as num_caption_images, group_risk.num_images, group_risk.num_hosts, group_risk.class
    from group_captions join group_risk using (group_id)
    where group_risk.risk_rank is not null
    qualify row_number() over (
        partition by group_captions.caption_hash
        order by group_captions.num_images desc, group_risk.num_images desc, group_risk.num_hosts desc, group_risk.group_id
    ) = 1
),
duplicate_lane as (
    select
        prompt_id, 'duplicate' as lane, prompt, group_id, num_images, num_caption_images, 1.0::double as sampling_weight,
        row_number() over (order by num_caption_images desc, num_images desc, num_hosts desc, group_id, prompt_id) as risk_rank
    from ranked
),
template_lane as (
    select
        prompt_id, 'template' as lane, prompt, group_id, num_images, num_caption_images,
        (count(*) over (partition by group_id) / least(count(*) over (partition by group_id), $num_template))::double
            as sampling_weight,
        null::bigint as risk_rank
    from ranked
    where class = 'template'
    qualify row_number() over (partition by group_id order by sha256('template/' || $seed || '/' || prompt_id)) <= $num_template
),
-- Images without a duplicate, under captions that nothing else carries.
lone as (
    select
        caption_hash(any_value(images.caption)) as prompt_id, any_value(images.caption) as prompt,
        any_value(neighbors.outlier_score) as outlier_score
    from images join neighbors using (image_id)
    where images.caption is not null and images.status = 'ok' and not coalesce(images.is_blank, false)
        and images.image_id not in (select image_id from groups)
        and images.caption not in (select caption from group_captions)
    group by images.caption
    having count(*) = 1
),
outlier_lane as (
    select
        prompt_id, 'outlier' as lane, prompt, null::bigint as group_id, 1::bigint as num_images, 1::bigint as num_caption_images,
        1.0::double as sampling_weight, row_number() over (order by outlier_score desc, prompt_id) as risk_rank
    from lone
    qualify risk_rank <= $num_outlier
),
strata as (
    select prompt_id, prompt, group_id, num_images, num_caption_images, ceil(log2(num_images))::integer as stratum
    from ranked
    union all
    select prompt_id, prompt, null, 1, 1, 0
    from lone
),
calibration_lane as (
    select
        prompt_id, 'calibration' as lane, prompt, group_id, num_images, num_caption_images,
        (count(*) over (partition by stratum) / least(count(*) over (partition by stratum), $num_calibration))::double
            as sampling_weight,
        null::bigint as risk_rank
    from strata
    qualify row_number() over (partition by stratum order by sha256('calibration/' || $seed || '/' || prompt_id)) <= $num_calibration
),
-- Controls are like the duplicates in length and style: a caption's kind is its number of words, in threes, and whether it has
-- digits. Kinds are drawn in proportion to the duplicates; where one runs out, the others fill its place.
kinds as (
    select caption_kind(prompt) as kind, count(*) / sum(count(*)) over () as share
    from ranked
    group by kind
),
control_order as (
    select
        lone.prompt_id, lone.prompt, caption_kind(lone.prompt) as kind,
        row_number() over (partition by caption_kind(lone.prompt) order by sha256('control/' || $seed || '/' || lone.prompt_id))
            / coalesce(kinds.share, 1e-9) as place
    from lone left join kinds on kinds.kind = caption_kind(lone.prompt)
),
control_draw as (
    select *, row_number() over (order by place, prompt_id) <= $num_control as is_drawn
    from control_order
),
control_lane as (
    select
        prompt_id, 'control' as lane, prompt, null::bigint as group_id, 1::bigint as num_images, 1::bigint as num_caption_images,
        (count(*) over (partition by kind) / count(*) filter (where is_drawn) over (partition by kind))::double as sampling_weight,
        null::bigint as risk_rank
    from control_draw
    qualify is_drawn
),
final as (
    select * from duplicate_lane
    union all
    select * from template_lane
    union all
    select * from outlier_lane
    union all
    select * from calibration_lane
    union all
    select * from control_lane
)
select * from final order by lane != 'duplicate', lane, risk_rank nulls last, prompt_id
