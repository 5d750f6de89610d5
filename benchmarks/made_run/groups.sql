select
    image_id, group_id, k = 0 as is_representative,
    (case when k = 0 or kind = 'exact' then 1 else 0.9 + 0.1 * share(image_id, 'rep') end)::float as similarity_to_representative, kind,
    case when kind = 'near' then (0.5 + 0.5 * share(image_id, 'confidence'))::float end as confidence
from made_members
order by group_id, image_id
