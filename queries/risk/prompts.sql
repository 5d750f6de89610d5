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
-- One prompt a caption: the ranked group in which most images carry it stands for it. Texts are joined at the end, to what was drawn.
ranked as (
    select
        group_captions.caption_hash as prompt_id, group_captions.group_id, caption_kind(group_captions.caption) as kind,
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
        prompt_id, 'duplicate' as lane, group_id, null::bigint as image_id, num_images, num_caption_images, 1.0::double as sampling_weight,
        row_number() over (order by num_caption_images desc, num_images desc, num_hosts desc, group_id, prompt_id) as risk_rank
    from ranked
),
template_lane as (
    select
        prompt_id, 'template' as lane, group_id, null::bigint as image_id, num_images, num_caption_images,
        (count(*) over (partition by group_id) / least(count(*) over (partition by group_id), $num_template))::double
            as sampling_weight,
        null::bigint as risk_rank
    from ranked
    where class = 'template'
    qualify row_number() over (partition by group_id order by sha256('template/' || $seed || '/' || prompt_id)) <= $num_template
),
-- Images without a duplicate, under captions that nothing else carries.
ungrouped as (
    select
        images.image_id, neighbors.outlier_score, caption_hash(images.caption) as prompt_id, caption_kind(images.caption) as kind
    from images join neighbors using (image_id) anti join groups using (image_id)
    where images.caption is not null and images.status = 'ok' and not coalesce(images.is_blank, false)
),
lone as (
    select
        prompt_id, any_value(image_id) as image_id, any_value(outlier_score) as outlier_score, any_value(kind) as kind
    from ungrouped
    where prompt_id not in (select caption_hash from group_captions)
    group by prompt_id
    having count(*) = 1
),
outlier_lane as (
    select
        prompt_id, 'outlier' as lane, null::bigint as group_id, image_id, 1::bigint as num_images, 1::bigint as num_caption_images,
        1.0::double as sampling_weight, row_number() over (order by outlier_score desc, prompt_id) as risk_rank
    from (from lone order by outlier_score desc, prompt_id limit $num_outlier)
),
strata as (
    select prompt_id, group_id, null::bigint as image_id, num_images, num_caption_images, ceil(log2(num_images))::integer as stratum
    from ranked
    union all
    select prompt_id, null, image_id, 1, 1, 0
    from lone
),
stratum_sizes as (
    select stratum, count(*) as size
    from strata
    group by stratum
),
-- Draws are in the order of 63 bits of a digest: of millions only the first few are kept, and no text is sorted.
stratum_draws as (
    select *
    from strata
    qualify row_number() over (
        partition by stratum order by caption_hash('calibration/' || $seed || '/' || prompt_id), prompt_id
    ) <= $num_calibration
),
calibration_lane as (
    select
        prompt_id, 'calibration' as lane, group_id, image_id, num_images, num_caption_images,
        (size / least(size, $num_calibration))::double as sampling_weight, null::bigint as risk_rank
    from stratum_draws join stratum_sizes using (stratum)
),
-- Controls are like the duplicates in length and style: a caption's kind is its number of words, in threes, and whether it has
-- digits. Kinds are drawn in proportion to the duplicates; where one runs out, the others fill its place.
kinds as (
    select kind, count(*) / sum(count(*)) over () as share
    from ranked
    group by kind
),
kind_sizes as (
    select kind, count(*) as size
    from lone
    group by kind
),
kind_draws as (
    select
        prompt_id, image_id, kind,
        row_number() over (partition by kind order by caption_hash('control/' || $seed || '/' || prompt_id), prompt_id) as draw
    from lone
    qualify draw <= $num_control
),
control_draw as (
    select kind_draws.prompt_id, kind_draws.image_id, kind_draws.kind
    from kind_draws left join kinds using (kind)
    order by kind_draws.draw / coalesce(kinds.share, 1e-9), kind_draws.prompt_id
    limit $num_control
),
control_lane as (
    select
        prompt_id, 'control' as lane, null::bigint as group_id, image_id, 1::bigint as num_images, 1::bigint as num_caption_images,
        (size / count(*) over (partition by kind))::double as sampling_weight, null::bigint as risk_rank
    from control_draw join kind_sizes using (kind)
),
lanes as (
    select * from duplicate_lane
    union all
    select * from template_lane
    union all
    select * from outlier_lane
    union all
    select * from calibration_lane
    union all
    select * from control_lane
),
final as (
    select
        lanes.prompt_id, lanes.lane, coalesce(group_captions.caption, images.caption) as prompt, lanes.group_id, lanes.num_images,
        lanes.num_caption_images, lanes.sampling_weight, lanes.risk_rank
    from lanes
    left join group_captions on group_captions.group_id = lanes.group_id and group_captions.caption_hash = lanes.prompt_id
    left join images on images.image_id = lanes.image_id
)
select * from final order by lane != 'duplicate', lane, risk_rank nulls last, prompt_id
