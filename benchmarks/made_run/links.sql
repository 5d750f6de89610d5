select left_id, right_id, similarity from made_links order by left_id, right_id
