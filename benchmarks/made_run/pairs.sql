select left_id, right_id, similarity, true as is_spanning from made_links where is_within order by left_id, right_id
