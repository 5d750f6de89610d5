select
    other, role, form, other || '/' as url, getvariable('num_images') as num_left, 50000 as num_right, 3 as num_right_unusable, threshold,
    max_hash_distance, '2025-01-01T00:00:00+00:00' as at
from (values
    ('eval', 'eval', 'run', 0.95::double, null::bigint), ('takedown', 'takedown', 'hashes', null, 8)
) as t (other, role, form, threshold, max_hash_distance)
order by other
