select
    'made' as left_dataset, image_id as left_id, other as right_dataset, (hash(g, other) % 50000)::bigint as right_id,
    'right-' || hash(g, other) % 50000 as right_key, other as role, case when other = 'eval' then (0.95 + 0.05 * share(image_id, 'leak'))::float end as similarity,
    case when other = 'takedown' then (hash(image_id, 'bits') % 9)::bigint end as hash_distance,
    case when other = 'takedown' then 'unverified' else kind end as kind,
    case when other = 'eval' and kind = 'near' then 0.75::float end as confidence
from made_members, (values ('eval'), ('takedown')) as o (other)
where g % 40 = 3
order by left_id, right_dataset, right_id
