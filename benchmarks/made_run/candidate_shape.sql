select group_id, (0.8 + 0.2 * share(g, 'shape'))::float as diameter_similarity, group_id as left_id, last_id as right_id
from made_heads
order by group_id
