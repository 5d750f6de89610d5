with
tried as (
    select prompt_id, min(lane) as lane, max(num_images) as num_images, max(group_id) as group_id
    from prompts
    where lane != 'duplicate' or risk_rank <= 20000
    group by prompt_id
),
drawn as (
    select
        'model-' || m as model_id, tried.*, hash(prompt_id, m) % 100 as luck, 8 + hash(prompt_id, m, 'n') % 57 as num_generations,
        hash(prompt_id, m) % 100 < 30 and lane not in ('calibration', 'control') as is_rejected
    from tried, range(2) as t (m)
)
select
    model_id, prompt_id, case when is_rejected then 0 else num_generations end::bigint as num_generations,
    case when is_rejected then 0 else num_generations * 50 end::bigint as num_forward_passes,
    case when is_rejected then 'rejected' when luck > 90 then 'verdict' else 'futility' end as stop_reason, not is_rejected as is_escalated,
    false as is_audited, case when lane = 'control' then case when prompt_id % 2 = 0 then 'limits' else 'rates' end end as control_use,
    case when is_rejected then 0 else 1 + luck // 10 end::bigint as clique_size, 6 as clique_size_asked,
    case when not is_rejected then share(prompt_id, 'diameter') end as clique_diameter, case when luck > 90 then 5 else 0 end as num_matching,
    case when not is_rejected and group_id is not null then group_id end as image_id,
    case when not is_rejected then group_id end as image_group_id, case when group_id is not null then true end as is_own,
    case when not is_rejected then 0.4 - luck / 300.0 end as l2, null::double as l2_vae, null::double as tiled_l2,
    case when not is_rejected then 1.2 - luck / 150.0 end as ratio, 0.6::double as ratio_limit,
    case when not is_rejected then share(prompt_id, 'similarity') end as similarity, null::blob as mask, null::double as mask_share,
    null::double as masked_l2, null::double as masked_ratio, case when luck > 95 then 'strict' when luck > 80 then 'standard' end as tier,
    case
        when is_rejected or luck <= 85 then 'none' when luck <= 88 then 'suspected' when luck <= 90 then 'template'
        when luck <= 92 then 'retrieved' else 'extracted'
    end as verdict
from drawn
order by model_id, prompt_id
