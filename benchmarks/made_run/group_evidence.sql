select
    group_id, group_id as candidate_id, class, class != 'picture' as is_protected, num_images, 1 + num_near + num_semantic as num_files,
    num_semantic, 0 as num_unverified, (g % 7 = 0)::bigint as num_refuted, false as is_truncated,
    share(g, 'distance')::float as max_distance, (hash(g, 'bits') % 20)::bigint as max_phash_distance,
    case when class = 'template' then (0.15 + 0.5 * share(g, 'varying'))::float end as varying_share, null::blob as varying_mask,
    share(g, 'ground')::float as ground_share, share(g, 'text')::float as text_share, (hash(g, 'lines') % 9)::bigint as num_text_lines,
    share(g, 'flat')::float as flat_share, (hash(g, 'colors') % 256)::bigint as num_colors, share(g, 'saturation')::float as saturation,
    case when hash(g, 'like') % 5 > 0 then share(g, 'likeness')::float end as caption_likeness
from made_heads
order by group_id
