select measure, band, similarity_low, similarity_high, 2000 as num_rows_sampled, num_rows, num_rows * 3 as num_pairs, recall, recall - 0.01 as recall_low,
    recall + 0.005 as recall_high
from (values
    ('neighbors', 'all', 0.95, null::double, 500, 0.99), ('neighbors', '0.95-0.97', 0.95, 0.97, 200, 0.97),
    ('neighbors', '0.97-', 0.97, null, 300, 0.995), ('links', 'all', 0.95, null, 500, 0.994)
) as t (measure, band, similarity_low, similarity_high, num_rows, recall)
order by measure, band
