select
    image_id, group_id, k = 0 as is_representative,
    (case when k = 0 or kind = 'exact' then 1 else 0.9 + 0.1 * share(image_id, 'rep') end)::float as similarity_to_representative,
    kind = 'exact' as is_exact
from made_members
order by group_id, image_id
